"""The page at the end of an OAuth flow."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from cordboard.auth.callback_page import CallbackPage, Page
from cordboard.auth.connect_session import Ended

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><script>",
    "' onload='x",
    "&lt;script&gt;",
    "<!--",
    "javascript:alert(1)",
]


SESSION = "workspaces/acme/connectSessions/1"


def page(title: str, problem: str, **fields: str) -> Page:
    return CallbackPage().of(Ended(title, problem, SESSION, **fields))


def policy(shown: Page) -> dict[str, str]:
    told = dict(shown.headers)["content-security-policy"]
    return {name: value for name, _, value in (part.strip().partition(" ") for part in told.split(";"))}


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_becomes_markup(text: str) -> None:
    way_back = {"return_url": "https://app.example/done", "origin": "https://app.example"}
    for fields in ({}, way_back):
        plain, hostile = page("title", "problem", **fields), page(text, text, **fields)
        assert re.findall(r"<[^>]*>", hostile.text) == re.findall(r"<[^>]*>", plain.text)
        good = page("title", "", **fields)
        assert re.findall(r"<[^>]*>", page(text, "", **fields).text) == re.findall(r"<[^>]*>", good.text)


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    shown = page("Desk", "")
    (style,) = re.findall(r"<style>(.*?)</style>", shown.text)
    assert policy(shown) == {
        "default-src": "'none'",
        "style-src": hashed(style),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = dict(shown.headers)
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "<script" not in shown.text


def test_the_window_that_opened_it_is_told_when_it_is_of_the_declared_origin() -> None:
    shown = page("Desk", "access_denied", origin="https://app.example")
    (script,) = re.findall(r"<script>(.*?)</script>", shown.text)
    assert policy(shown)["script-src"] == hashed(script)
    told = re.fullmatch(r"if\(window\.opener\)window\.opener\.postMessage\((\{.*\}),(\".*\")\);", script)
    assert told is not None
    assert json.loads(told[2]) == "https://app.example"
    assert json.loads(told[1]) == {
        "type": "cordboard.connect", "session": SESSION, "state": "failed", "error": "access_denied",
    }  # fmt: skip


def test_the_person_can_go_back_to_where_the_session_says() -> None:
    shown = page("Desk", "", return_url="https://app.example/done?tab=1").text
    assert 'href="https://app.example/done?tab=1&amp;session=workspaces%2Facme%2FconnectSessions%2F1' in shown
    assert "state=connected" in shown


def test_it_says_what_happened_and_that_the_window_can_be_closed() -> None:
    assert "Acme Desk is connected" in page("Acme Desk", "").text
    assert "access_denied" in page("Acme Desk", "access_denied").text
    assert all("close this window" in shown.text for shown in (page("x", ""), page("x", "y")))
