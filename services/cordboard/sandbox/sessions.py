"""Logging in: a user name and a password for a token that lives as long as a session."""

from __future__ import annotations

from aiohttp import web

from cordboard.sandbox.answers import Answer
from cordboard.sandbox.intake import json_body, response
from cordboard.sandbox.schema import Schema
from cordboard.sandbox.vendor import Vendor


class Sessions:
    """Answers the logins of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        text = {"type": "string", "maxLength": 200}
        self._login = Schema(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"user": text, "password": text},
                "required": ["user", "password"],
            },
            {},
        )

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of the login, and of a page that a digest opens."""
        return [web.post("/auth/login", self.log_in), web.get("/auth/challenge", self.challenge)]

    async def log_in(self, request: web.Request) -> web.Response:
        """Gives a session's token."""
        body = await json_body(request, self._login)
        access = self._vendor.access
        token = access.log_in(body["user"], body["password"])
        told = {"session": {"token": token, "expires_in": access.settings.session_seconds}}
        return response(Answer.of(told, headers={"Cache-Control": "no-store"}))

    async def challenge(self, _request: web.Request) -> web.Response:
        """Answers 401 with a challenge for a digest."""
        headers = {"WWW-Authenticate": self._vendor.access.challenge()}
        return response(Answer(401, headers=headers))
