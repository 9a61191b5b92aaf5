"""The page a person sees after signing in: small, self-contained, and with every value escaped."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from cordboard.auth.callback_page import Page

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#1c2330;"
    "background:#f7f8fa}h1{font-size:1.35rem}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#14181f}a{color:#9cc2ff}}"
)


def signed_in(location: str) -> Page:
    """Returns the page that goes on to where the person wanted to be; a page, for a redirect has no place in gRPC."""
    return _page("You are signed in", "", location)


def refused(problem: str, location: str = "") -> Page:
    """Returns the page that says why somebody was not signed in, and goes on to the program that waits, if one does."""
    return _page(
        "You are not signed in", f"<p>What happened: {escape(problem)}</p><p>You can begin again.</p>", location
    )


def _page(heading: str, body: str, location: str) -> Page:
    target = escape(location)
    head = f'<meta http-equiv="refresh" content="0;url={target}">' if location else ""
    body += f'<p><a href="{target}">Go on</a></p>' if location else ""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = (
        ("content-security-policy", policy),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    )
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"{head}<title>{heading}</title><style>{_STYLE}</style></head>"
        f'<body><main role="status"><h1>{heading}</h1>{body}</main></body></html>'
    )
    return Page(text, headers)
