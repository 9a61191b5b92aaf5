"""Fetches one document over http or https, on the machine and with the rights of the person who runs the command."""

from __future__ import annotations

import asyncio
import os
from typing import Final
from urllib.parse import urljoin

import aiohttp

from cordboard.cli.documents import MAX_BYTES, text_of
from cordboard.cli.failures import CommandFailed
from cordboard.core.egress import Egress, ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied

MAX_SECONDS: Final = 60.0
MAX_REDIRECTS: Final = 5

# Whoever runs the command could fetch any of these by hand: a document of a server on the same desk is a fine source.
_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")


def is_url(named: str) -> bool:
    """Tells whether an argument names a URL and not a file."""
    return "://" in named


async def download(url: str) -> tuple[str, str]:
    """Returns a document's text and the URL where it was at last, redirects followed; raises CommandFailed."""
    try:
        async with asyncio.timeout(MAX_SECONDS):
            content, found = await _follow(url)
    except ResponseTooLarge:
        raise CommandFailed(f"{url}: the document is larger than {MAX_BYTES // 1024 // 1024} MiB", 2) from None
    except TimeoutError:
        raise CommandFailed(f"{url}: it did not arrive within {MAX_SECONDS:.0f} s") from None
    except EgressDenied:
        raise CommandFailed(
            f"{url}: only http and https URLs without user, password and fragment are fetched", 2
        ) from None
    except aiohttp.ClientConnectorError as error:
        cause = error.os_error
        why = (os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause)).lower()
        raise CommandFailed(f"{url}: {error.host}:{error.port} cannot be reached: {why}") from None
    except aiohttp.ClientError as error:
        raise CommandFailed(f"{url}: cannot be fetched: {error}") from None
    return text_of(content, url), found


async def _follow(url: str) -> tuple[bytes, str]:
    async with Egress(_EVERYWHERE).session(timeout=MAX_SECONDS) as session:
        for _ in range(MAX_REDIRECTS + 1):
            async with session.get(check_url(url), allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    following = urljoin(url, response.headers["Location"])
                    if url.startswith("https:") and not following.startswith("https:"):
                        raise CommandFailed(f"{url}: it redirects from https to something else")
                    url = following
                    continue
                if response.status != 200:
                    raise CommandFailed(f"{url}: the server answers {response.status}")
                return await read_limited(response, MAX_BYTES), url
    raise CommandFailed(f"{url}: more than {MAX_REDIRECTS} redirects")
