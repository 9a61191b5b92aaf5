"""Plays the person at the consent page, over plain HTTP, so that a demo or a test can consent with nobody there."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

import aiohttp


class ConsentFailed(Exception):
    """The vendor showed no consent form, or did not send the browser back."""


class _ConsentForm(HTMLParser):
    """Collects the action and the hidden fields of a page's form."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("type") == "hidden":
            self.fields[values["name"]] = values.get("value", "")


async def consent(
    session: aiohttp.ClientSession, authorize_url: str, *, decision: str = "approve", agent: str | None = None
) -> str:
    """Opens the authorization URL, presses `approve` or `deny` as `agent`, and returns where the browser is sent.

    A refusal by redirect is returned like any other; anything else raises ConsentFailed.
    """
    async with session.get(authorize_url, allow_redirects=False) as shown:
        if shown.status in {302, 303}:
            return shown.headers["Location"]
        page = _ConsentForm()
        page.feed(await shown.text())
        if shown.status != 200 or page.action is None:
            raise ConsentFailed(f"the vendor answered {shown.status} and no consent form")
    fields = {**page.fields, "decision": decision, **({} if agent is None else {"agent": agent})}
    target = urljoin(authorize_url, page.action)
    async with session.post(target, data=fields, allow_redirects=False) as answered:
        if answered.status not in {302, 303}:
            raise ConsentFailed(f"the vendor answered {answered.status} to the consent")
        return answered.headers["Location"]
