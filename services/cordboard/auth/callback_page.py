"""The page a person sees after coming back from a vendor: small, self-contained, and with every value escaped."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#1c2330;"
    "background:#f7f8fa}h1{font-size:1.35rem}code{background:#e8ebf0;padding:.1em .3em;border-radius:4px}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#14181f}code{background:#2a313c}}"
)
CONTENT_TYPE: Final = "text/html; charset=utf-8"


class CallbackPage:
    """Writes the page, and the headers that go with it."""

    def __init__(self) -> None:
        """Works out the policy that allows this page's own style and nothing else."""
        digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        self.headers = (
            (
                "content-security-policy",
                f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        )

    def of(self, title: str, problem: str) -> str:
        """Returns the page that says that an integration is connected, or what went wrong."""
        if not problem:
            return _page(f"{escape(title)} is connected", "<p>You can close this window.</p>")
        return _page(
            f"{escape(title)} was not connected",
            f"<p>What happened: <code>{escape(problem)}</code></p>"
            "<p>Nothing was stored. You can close this window and connect again.</p>",
        )


def _page(heading: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{heading}</title><style>{_STYLE}</style></head>"
        f'<body><main role="status"><h1>{heading}</h1>{body}</main></body></html>'
    )
