"""Runs statements on PostgreSQL: one in a transaction of its own, which reads only unless the statement may write."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import asyncpg
import orjson

from cordboard.core.errors import InvalidFields, Violation
from cordboard.proxy.databases.link import Failed, Limits, Place, Rows, Unfit, sizes, tls_context

FIRST_ROWS: Final = 16
MOST_AT_ONCE: Final = 500
_CLOSE_SECONDS: Final = 1.0
# What asyncpg says where the server went away before a statement, and in the middle of one.
_GONE: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError)
_JSON: Final = frozenset({"json", "jsonb"})
# SQLSTATE classes and codes as HTTP's statuses, by which a definition's rules and the standard ones judge. The longest
# beginning counts.
STATUSES: Final[Mapping[str, int]] = {
    "08": 503,  # connection
    "22": 422,  # data
    "23": 409,  # integrity
    "25006": 403,  # writes in a transaction that reads only
    "28": 401,  # authorization
    "3D": 404,  # no such database
    "40": 425,  # serialization, deadlock: again is right, and the server is well
    "42": 400,  # syntax, names
    "42501": 403,  # privilege
    "53": 503,  # resources
    "55P03": 425,  # lock not available
    "57014": 504,  # its time was up
    "57P": 503,  # shutting down
}


class PostgresLink:
    """One connection to a PostgreSQL server."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        """Takes a connection that nobody else uses."""
        self._connection = connection

    @classmethod
    async def open(cls, place: Place, timeout: float) -> PostgresLink:
        """Connects; raises OSError, ssl.SSLError, TimeoutError and Failed."""
        try:
            connection = await asyncpg.connect(
                host=place.address,
                port=place.port,
                user=place.user,
                password=place.password.reveal(),
                database=place.database,
                ssl=tls_context(place) or False,
                timeout=timeout,
                server_settings={"application_name": "cordboard"},
                # Statements are kept by whoever has a session to himself; a pooler in between has none.
                statement_cache_size=0,
            )
        except asyncpg.PostgresError as error:
            raise failed(error) from None
        except asyncpg.InterfaceError:
            # What asyncpg says where a server does not do TLS, or not as it is asked.
            raise ConnectionError("the server does not take such connections") from None
        return cls(connection)

    async def run(self, text: str, arguments: Mapping[str, Any], limits: Limits) -> Rows:
        """Returns what a statement gives; raises Failed, InvalidFields, OSError and TimeoutError."""
        try:
            async with asyncio.timeout(limits.seconds), self._transaction(limits):
                statement = await self._connection.prepare(text)
                values = _arguments(statement, arguments)
                if limits.writes:
                    found = await statement.fetch(*values)
                    return _rows(statement, found, limits, affected=_affected(statement.get_statusmsg()))
                return await self._read(statement, values, limits)
        except asyncpg.PostgresError as error:
            raise failed(error) from None
        except asyncpg.DataError as error:
            raise InvalidFields.one("input", f"does not fit the statement: {type(error).__name__}") from None
        except _GONE:
            raise ConnectionError("the connection is gone") from None

    async def reset(self) -> None:
        """Forgets what a statement may have left in the session; raises OSError."""
        try:
            await self._connection.reset(timeout=_CLOSE_SECONDS)
        except (asyncpg.PostgresError, *_GONE):
            raise ConnectionError("the connection cannot be used again") from None

    async def close(self) -> None:
        """Ends the connection, whatever it does."""
        with contextlib.suppress(Exception):
            await asyncio.shield(self._connection.close(timeout=_CLOSE_SECONDS))

    @contextlib.asynccontextmanager
    async def _transaction(self, limits: Limits) -> AsyncIterator[None]:
        kind = "READ WRITE" if limits.writes else "READ ONLY"
        await self._connection.execute(f"BEGIN {kind}; SET LOCAL statement_timeout = {round(limits.seconds * 1000)}")
        try:
            yield
        except BaseException:
            # After a cancellation there is nobody to roll it back: the pool closes the connection, which does.
            with contextlib.suppress(asyncpg.PostgresError, *_GONE, OSError):
                await self._connection.execute("ROLLBACK", timeout=_CLOSE_SECONDS)
            raise
        await self._connection.execute("COMMIT" if limits.writes else "ROLLBACK")

    async def _read(self, statement: Any, values: Sequence[Any], limits: Limits) -> Rows:
        if not statement.get_attributes():
            await statement.fetch(*values)
            return Rows((), [], truncated=False, affected=None)
        cursor = await statement.cursor(*values)
        found: list[Any] = []
        size, count = 0, FIRST_ROWS
        while len(found) <= limits.rows:
            part = await cursor.fetch(min(count, limits.rows + 1 - len(found)))
            found += part
            size += sum(sizes(list(row)) for row in part)
            if size > limits.size:
                raise Unfit
            if len(part) < count:
                break
            # As many as fit, by what rows are like, so that wide ones are not read by the hundred.
            count = max(1, min(MOST_AT_ONCE, (limits.size - size) * len(found) // max(size, 1)))
        return _rows(statement, found, limits, affected=None)


def failed(error: asyncpg.PostgresError) -> Failed:
    """Returns what an error of the server means; its text, which may hold data, is not in it."""
    code = error.sqlstate or ""
    known = max((one for one in STATUSES if code.startswith(one)), key=len, default="")
    return Failed(STATUSES.get(known, 500), code)


def _affected(message: str) -> int | None:
    last = message.rpartition(" ")[2] if message else ""
    return int(last) if last.isdigit() else None


def _rows(statement: Any, found: Sequence[Any], limits: Limits, *, affected: int | None) -> Rows:
    columns = tuple((one.name, one.type.name) for one in statement.get_attributes())
    kept = found[: limits.rows]
    made = [[_plain(value, kind) for value, (_, kind) in zip(row, columns, strict=True)] for row in kept]
    if sum(map(sizes, made)) > limits.size:
        raise Unfit
    return Rows(columns, made, truncated=len(found) > len(kept), affected=affected)


def _arguments(statement: Any, given: Mapping[str, Any]) -> list[Any]:
    """Returns the values in the types that the server wants; raises InvalidFields naming those that do not fit."""
    made, wrong = [], []
    for (name, value), kind in zip(given.items(), statement.get_parameters(), strict=True):
        try:
            made.append(_typed(value, kind.name))
        except (ValueError, TypeError, InvalidOperation, binascii.Error, OverflowError):
            wrong.append(Violation(f"input.{name}", f"does not fit the type {kind.name!r}"))
    if wrong:
        raise InvalidFields(wrong)
    return made


def _typed(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise TypeError
        return [_typed(one, kind.removesuffix("[]")) for one in value]
    reader = _READERS.get(kind)
    return reader(value) if reader is not None else value


def _number(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def _text(value: Any) -> str:
    found = value if isinstance(value, str) else orjson.dumps(value).decode()
    if "\0" in found:
        raise ValueError
    return found


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_READERS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _number),
    **dict.fromkeys(("float4", "float8"), float),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid", "inet", "cidr"), _text),
    **dict.fromkeys(("json", "jsonb"), lambda value: orjson.dumps(value).decode()),
    "bool": _truth,
    "numeric": lambda value: Decimal(str(value)),
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": lambda value: datetime.fromisoformat(value).replace(tzinfo=None),
    "timestamptz": datetime.fromisoformat,
    "interval": lambda value: timedelta(seconds=value),
    "bytea": lambda value: base64.b64decode(value, validate=True),
}


def _plain(value: Any, kind: str) -> Any:
    """Returns a value as JSON can carry it: exact numbers and what JSON has no type for as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return orjson.loads(value) if kind in _JSON else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple, asyncpg.Record)):
        return [_plain(one, kind.removesuffix("[]")) for one in value]
    return str(value)
