"""Ways to people: a webhook as Alertmanager calls it, one as Slack takes it, and e-mail. All go by the egress rules."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import orjson

from cordboard.core.errors import EgressDenied
from cordboard.telemetry.alerts.message import heading, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from cordboard.core.egress import Egress

SECONDS: Final = 10.0


class Undelivered(Exception):
    """A message was not taken; the text says why, without any address: those of webhooks are secrets."""


class Channel(Protocol):
    """A way to people."""

    name: str

    async def send(self, message: dict[str, Any], key: str) -> None:
        """Sends a message; `key` is the same each time it is tried. Raises Undelivered."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class _Posting:
    def __init__(self, url: SecretStr, egress: Egress) -> None:
        self._url = url
        self._session = egress.session(timeout=SECONDS, connections=4)

    async def post(self, body: dict[str, Any], key: str) -> None:
        headers = {"content-type": "application/json", "idempotency-key": key}
        try:
            async with self._session.post(
                self._url.get_secret_value(), data=orjson.dumps(body), headers=headers, allow_redirects=False
            ) as response:
                if not 200 <= response.status < 300:
                    raise Undelivered(f"answered {response.status}")
        except EgressDenied:
            raise Undelivered("the egress rules refuse its address") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Undelivered(f"could not be reached: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._session.close()


class WebhookChannel(_Posting):
    """Posts messages as Alertmanager's webhook receiver gets them, version 4."""

    name = "webhook"

    async def send(self, message: dict[str, Any], key: str) -> None:
        """Posts the message as it is."""
        await self.post(message, key)


class SlackChannel(_Posting):
    """Posts messages in the shape of Slack's incoming webhooks, which others take as well."""

    name = "slack"

    async def send(self, message: dict[str, Any], key: str) -> None:
        """Posts the message as text: a heading and its lines."""
        text = "\n".join([f"*{heading(message)}*", *lines(message)])
        # What a summary quotes must not become a mention or a link.
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        await self.post({"text": escaped}, key)


class EmailChannel:
    """Sends messages by SMTP."""

    name = "email"

    def __init__(
        self,
        address: str,
        egress: Egress,
        *,
        sender: str,
        recipients: Sequence[str],
        security: str,
        user: str,
        password: SecretStr,
    ) -> None:
        """Takes HOST:PORT; `security` is `starttls`, `tls` or `none`; an empty user means no login."""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._egress = egress
        self._sender = sender
        self._recipients = list(recipients)
        self._security = security
        self._user = user
        self._password = password

    async def send(self, message: dict[str, Any], key: str) -> None:
        """Sends one mail to all recipients."""
        mail = EmailMessage()
        mail["Subject"] = heading(message)
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Message-ID"] = f"<{key}@alerts.cordboard>"
        mail.set_content("\n".join(lines(message)) + "\n")
        try:
            async with asyncio.timeout(3 * SECONDS):
                await asyncio.to_thread(self._deliver, mail)
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"the mail server answered {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError, TimeoutError) as error:
            raise Undelivered(f"the mail server could not be used: {type(error).__name__}") from None

    async def close(self) -> None:
        """Has nothing to let go of: each mail has a connection of its own."""

    def _deliver(self, mail: EmailMessage) -> None:
        tls = ssl.create_default_context()
        with _GuardedSmtp(self._egress, tls if self._security == "tls" else None) as server:
            server.open(self._host, self._port)
            if self._security == "starttls":
                server.starttls(context=tls)
            if self._user:
                server.login(self._user, self._password.get_secret_value())
            server.send_message(mail)


class _GuardedSmtp(smtplib.SMTP):
    """Connects only where the egress rules let it: the address that was judged is the one that is used."""

    def __init__(self, egress: Egress, tls: ssl.SSLContext | None) -> None:
        super().__init__(timeout=SECONDS)
        self._egress = egress
        self._tls = tls

    def open(self, host: str, port: int) -> None:
        # The certificate is checked against this name.
        self._host = host
        code, _ = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, "")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            if not self._egress.allows(str(address[0])):
                continue
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(timeout)
                opened.connect(address)
                return self._tls.wrap_socket(opened, server_hostname=host) if self._tls else opened
            except BaseException:
                opened.close()
                raise
        raise PermissionError("the egress rules refuse the mail server's address")
