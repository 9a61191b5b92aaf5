"""The files of the pages for people, as they lie in the package, and the headers that go with them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordboard.auth.callback_page import Page
from cordboard.core.errors import NotFound

FOLDER: Final = Path(__file__).parent / "pages"
TYPES: Final[Mapping[str, str]] = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
# A file's name changes with what it holds. Every browser that knows modules takes gzip.
_HEADERS: Final = (("cache-control", "public, max-age=31536000, immutable"), ("content-encoding", "gzip"))
_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
    '<title>{title}</title><link rel="stylesheet" href="{css}"><link rel="icon" href="data:,">'
    '<script type="module" src="{js}"></script></head>'
    "<body><main><noscript><h1>{title}</h1><p>This page needs JavaScript.</p></noscript></main></body>"
    "</html>"
)


@dataclass(frozen=True)
class File:
    """A file, and the headers that go with it."""

    content_type: str
    data: bytes
    headers: tuple[tuple[str, str], ...]


class PageFiles:
    """Answers with a page and its files."""

    def __init__(self, page: str, title: str, folder: Path = FOLDER) -> None:
        """Reads the files of a page, which do not change; its name is also the first part of their addresses."""
        self._page = page
        self._files: dict[str, tuple[str, bytes]] = {}
        self._packed: dict[str, File] = {}
        places: dict[str, str] = {}
        for suffix, content_type in TYPES.items():
            data = (folder / f"{page}.{suffix}").read_bytes()
            name = f"{page}.{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
            self._files[name] = (content_type, data)
            places[suffix] = f"/{page}/assets/{name}"
        self._text = _PAGE.format(title=title, **places)

    def page(self, origin: str = "") -> Page:
        """Returns the page, which this origin may show in a frame; nobody, without one."""
        frames = origin or "'none'"
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
            f"base-uri 'none'; form-action 'none'; frame-ancestors {frames}; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        headers = (
            ("content-security-policy", policy),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
            ("cache-control", "no-store"),
        )
        return Page(self._text, headers)

    def file(self, name: str) -> File:
        """Returns a file, which is packed when it is first asked for; raises NotFound."""
        found = self._packed.get(name)
        if found is None:
            if name not in self._files:
                raise NotFound(f"{self._page}Assets/{name[:64]}")
            content_type, data = self._files[name]
            found = self._packed[name] = File(content_type, gzip.compress(data, mtime=0), _HEADERS)
        return found
