"""The page at the end of an OAuth flow."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from cordboard.auth.callback_page import CallbackPage

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><script>",
    "' onload='x",
    "&lt;script&gt;",
    "<!--",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_becomes_markup(text: str) -> None:
    page = CallbackPage()
    plain, hostile = page.of("title", "problem"), page.of(text, text)
    assert re.findall(r"<[^>]*>", hostile) == re.findall(r"<[^>]*>", plain)
    assert re.findall(r"<[^>]*>", page.of(text, "")) == re.findall(r"<[^>]*>", page.of("title", ""))


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    page = CallbackPage()
    headers = dict(page.headers)
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", page.of("Desk", ""))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_it_says_what_happened_and_that_the_window_can_be_closed() -> None:
    page = CallbackPage()
    assert "Acme Desk is connected" in page.of("Acme Desk", "")
    assert "access_denied" in page.of("Acme Desk", "access_denied")
    assert all("close this window" in text for text in (page.of("x", ""), page.of("x", "y")))
