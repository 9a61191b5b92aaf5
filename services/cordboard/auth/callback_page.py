"""The page a person sees after coming back from a vendor: small, self-contained, and with every value escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from cordboard.auth.connect_session import Ended

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#1c2330;"
    "background:#f7f8fa}h1{font-size:1.35rem}code{background:#e8ebf0;padding:.1em .3em;border-radius:4px}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#14181f}code{background:#2a313c}}"
)
CONTENT_TYPE: Final = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """A page, and the headers that go with it."""

    text: str
    headers: tuple[tuple[str, str], ...]


class CallbackPage:
    """Writes the page, and the headers that allow what stands in it and nothing else."""

    def of(self, ended: Ended) -> Page:
        """Returns the page that says that an integration is connected, or what went wrong.

        A session with an origin tells the window that opened it, if that is of the origin; one with a return URL has a
        link to it. One of the connect page goes on to that, which says all of this itself.
        """
        if ended.link:
            return self.onward(f"/connect/{ended.link}")
        title, problem, script = escape(ended.title), escape(ended.problem), _script(ended)
        back = f'<p><a href="{escape(_back(ended))}">Go back</a></p>' if ended.return_url else ""
        close = back or "<p>You can close this window.</p>"
        if not ended.problem:
            return _page(f"{title} is connected", close, script)
        again = "Nothing was stored. You can connect again."
        body = f"<p>What happened: <code>{problem}</code></p><p>{again}</p>{close}"
        return _page(f"{title} was not connected", body, script)

    def onward(self, url: str) -> Page:
        """Returns the page that goes on to another one; a page, for a redirect has no place in gRPC."""
        return _page("One moment", f'<p><a href="{escape(url)}">Go on</a></p>', "", url)


def _script(ended: Ended) -> str:
    if not ended.origin:
        return ""
    told = {
        "type": "cordboard.connect",
        "session": ended.session,
        "state": "failed" if ended.problem else "connected",
        "error": ended.problem,
    }
    # `<` begins no element inside of a JSON text that has none.
    message, origin = (json.dumps(each).replace("<", "\\u003c") for each in (told, ended.origin))
    return f"if(window.opener)window.opener.postMessage({message},{origin});"


def _back(ended: Ended) -> str:
    separator = "&" if "?" in ended.return_url else "?"
    state = "failed" if ended.problem else "connected"
    return f"{ended.return_url}{separator}{urlencode({'session': ended.session, 'state': state})}"


def _page(heading: str, body: str, script: str, onward: str = "") -> Page:
    scripts = f" script-src 'sha256-{_digest(script)}';" if script else ""
    headers = (
        (
            "content-security-policy",
            f"default-src 'none'; style-src 'sha256-{_digest(_STYLE)}';{scripts} base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    )
    head = f'<meta http-equiv="refresh" content="0;url={escape(onward)}">' if onward else ""
    told = f"<script>{script}</script>" if script else ""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"{head}<title>{heading}</title><style>{_STYLE}</style></head>"
        f'<body><main role="status"><h1>{heading}</h1>{body}</main>{told}</body></html>'
    )
    return Page(text, headers)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
