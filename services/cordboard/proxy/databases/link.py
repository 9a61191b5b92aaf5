"""What every kind of database server has to do for the Proxy, and the values that go in and out."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

from cordboard.core.secrets import Secret

# What a value takes in memory beside its text, about.
_OVERHEAD: Final = 16


class Unfit(Exception):
    """The rows are more bytes than are taken."""


class Failed(Exception):
    """The server refused a statement."""

    def __init__(self, status: int, code: str) -> None:
        """Takes what it means, as HTTP would say it, and the server's own code: never its text, which may hold data."""
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is, and as whom to go there."""

    host: str
    """As the certificate names it."""
    address: str
    """The numeric address that was checked: names are not asked for again."""
    port: int
    database: str
    user: str
    password: Secret[str] = field(repr=False)
    tls: bool
    authority: str = field(default="", repr=False)
    """The certificates to trust, as PEM; empty: the system's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one statement may do and give."""

    seconds: float
    rows: int
    size: int
    """In bytes, about."""
    writes: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gave."""

    columns: Sequence[tuple[str, str]]
    """Each with the server's name of its type."""
    rows: Sequence[Sequence[Any]]
    """As JSON can carry them."""
    truncated: bool
    affected: int | None

    def plain(self) -> dict[str, Any]:
        """Returns it as the output of an action."""
        names = [name for name, _ in self.columns]
        found: dict[str, Any] = {
            "columns": [{"name": name, "type": kind} for name, kind in self.columns],
            # By name where names tell columns apart, else in order.
            "rows": [dict(zip(names, row, strict=True)) for row in self.rows]
            if len(set(names)) == len(names)
            else [list(row) for row in self.rows],
            "truncated": self.truncated,
        }
        if self.affected is not None:
            found["affected"] = self.affected
        return found


class Link(Protocol):
    """One connection to a server."""

    async def run(self, text: str, arguments: Mapping[str, Any], limits: Limits) -> Rows:
        """Returns what a statement gives, in a transaction of its own; `arguments` are in the statement's order.

        Raises Failed, Unfit, InvalidFields, OSError and TimeoutError.
        """
        ...

    async def reset(self) -> None:
        """Forgets what a statement may have left in the session; raises OSError."""
        ...

    async def close(self) -> None:
        """Ends the connection, whatever it does."""
        ...


Open = Callable[[Place, float], Awaitable[Link]]


class _Named(ssl.SSLContext):
    """Verifies a certificate for a name, whatever address the connection was made to."""

    server_name: str = ""

    def __new__(cls) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """Wraps as ever, with the name that was meant."""
        return super().wrap_bio(*given, **(named | {"server_hostname": self.server_name}))


def tls_context(place: Place) -> ssl.SSLContext | None:
    """Returns how the server is verified; None: it is reached without TLS. Raises SSLError for no certificates."""
    if not place.tls:
        return None
    context = _Named()
    context.server_name = place.host
    if place.authority:
        context.load_verify_locations(cadata=place.authority)
    else:
        context.load_default_certs()
    return context


def sizes(row: Sequence[Any]) -> int:
    """Returns about how many bytes a row takes."""
    return sum(_OVERHEAD + (len(value) if isinstance(value, (str, bytes)) else _deep(value)) for value in row)


def _deep(value: Any) -> int:
    if isinstance(value, Mapping):
        return sizes([*value, *value.values()])
    return sizes(value) if isinstance(value, (list, tuple)) else 0
