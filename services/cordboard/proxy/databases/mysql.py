"""Runs statements on MySQL and MariaDB: each prepared by the server, in a transaction of its own, which reads only
unless the statement may write.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import asyncmy
import orjson
from asyncmy.constants import FIELD_TYPE
from asyncmy.cursors import SSCursor
from asyncmy.errors import MySQLError

from cordboard.core.errors import InvalidFields, Violation
from cordboard.planning.statements import questioned
from cordboard.proxy.databases.link import Failed, Limits, Place, Rows, Unfit, sizes, tls_context

_CLOSE_SECONDS: Final = 1.0
_RESET_CONNECTION: Final = 0x1F
_SESSION: Final = "SET NAMES utf8mb4, time_zone = '+00:00'"
_INTEGERS: Final = range(-(2**63), 2**64)
# What the library numbers itself: the server did not say it. 2006 and 2013 are a line that broke.
_OWN_ERRORS: Final = range(2000, 3000)
# Numbers of errors as HTTP's statuses, by which a definition's rules and the standard ones judge.
STATUSES: Final[Mapping[int, int]] = {
    **dict.fromkeys((1045, 1698), 401),  # who is it
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), 403),  # privileges
    **dict.fromkeys((1290, 1792), 403),  # writes where only reading is allowed
    1049: 404,  # no such database
    **dict.fromkeys((1048, 1062, 1169, 1216, 1217, 1451, 1452, 1557, 1586, 1761, 1762, 3819, 4025), 409),  # constraints
    **dict.fromkeys((1264, 1265, 1292, 1366, 1406, 1411, 1690, 3140, 4038), 422),  # values
    **dict.fromkeys((1205, 1213), 425),  # locks, deadlocks: again is right, and the server is well
    **dict.fromkeys((1054, 1064, 1146, 1149, 1305, 1222, 1241, 1242), 400),  # syntax, names
    **dict.fromkeys((1040, 1053, 1152, 1203, 1226, 1927), 503),  # resources, shutting down
    **dict.fromkeys((1317, 1969, 3024), 504),  # its time was up
}
_TYPES: Final = {
    number: name.lower()
    for name, number in vars(FIELD_TYPE).items()
    if name.isupper() and name not in ("CHAR", "INTERVAL")
}
_BINARY: Final = frozenset(
    {FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB, FIELD_TYPE.VAR_STRING}
)


class MySqlLink:
    """One connection to a MySQL or MariaDB server."""

    def __init__(self, place: Place, connection: Any) -> None:
        """Takes where it leads, and a connection that nobody else uses."""
        self._place = place
        self._connection = connection
        # An answer was not read to its end.
        self._unread = False

    @classmethod
    async def open(cls, place: Place, timeout: float) -> MySqlLink:
        """Connects; raises OSError, ssl.SSLError, TimeoutError and Failed."""
        return cls(place, await _connected(place, timeout))

    async def run(self, text: str, arguments: Mapping[str, Any], limits: Limits) -> Rows:
        """Returns what a statement gives; raises Failed, InvalidFields, OSError, TimeoutError and Unfit."""
        statement, names = questioned(text)
        values = _literals(arguments)
        with _told():
            async with asyncio.timeout(limits.seconds), self._transaction(limits):
                given = [f"@cordboard_text = {_text(statement)}"]
                given += [f"@cordboard_{number} = {value}" for number, value in enumerate(values.values())]
                await self._query(f"SET {', '.join(given)}")
                await self._query("PREPARE cordboard FROM @cordboard_text")
                numbers = {name: number for number, name in enumerate(values)}
                using = ", ".join(f"@cordboard_{numbers[name]}" for name in names)
                return await self._executed(f"EXECUTE cordboard{f' USING {using}' if using else ''}", limits)

    async def reset(self) -> None:
        """Forgets what a statement may have left in the session; raises OSError."""
        try:
            with _told():
                async with asyncio.timeout(_CLOSE_SECONDS):
                    if self._unread:
                        # Reading on would take as long as the answer is; a new session is quicker.
                        await self.close()
                        self._connection, self._unread = await _connected(self._place, _CLOSE_SECONDS), False
                        return
                    await self._connection._execute_command(_RESET_CONNECTION, "")
                    await self._connection._read_ok_packet()
                    await self._query(_SESSION)
        except (Failed, TimeoutError):
            raise ConnectionError("the connection cannot be used again") from None

    async def close(self) -> None:
        """Ends the connection, whatever it does."""
        with contextlib.suppress(Exception):
            self._connection.close()

    @contextlib.asynccontextmanager
    async def _transaction(self, limits: Limits) -> AsyncIterator[None]:
        milliseconds = max(1, round(limits.seconds * 1000))
        # MariaDB bounds every statement, MySQL those that read.
        limit = (
            f"max_statement_time = {milliseconds / 1000}"
            if "mariadb" in str(self._connection.server_version).lower()
            else f"max_execution_time = {milliseconds}"
        )
        # One more than is kept tells that there are more; a statement with a LIMIT of its own goes by that.
        rows = "DEFAULT" if limits.writes else limits.rows + 1
        await self._query(f"SET {limit}, sql_select_limit = {rows}")
        await self._query(f"START TRANSACTION {'READ WRITE' if limits.writes else 'READ ONLY'}")
        # What goes wrong on the way leaves the transaction open: the pool closes the connection, which rolls it back.
        yield
        if not self._unread:
            await self._query("COMMIT" if limits.writes else "ROLLBACK")

    async def _query(self, text: str) -> None:
        await self._connection.query(text)

    async def _executed(self, text: str, limits: Limits) -> Rows:
        cursor = self._connection.cursor(SSCursor)
        self._unread = True
        await cursor.execute(text)
        if cursor.description is None:
            self._unread = False
            return Rows((), [], truncated=False, affected=cursor.rowcount if limits.writes else None)
        fields = cursor._result.fields
        columns = tuple((one.name, _type_of(one)) for one in fields)
        found: list[Any] = []
        count = size = 0
        while (row := await cursor.fetchone()) is not None:
            count += 1
            size += sizes(list(row))
            if size > limits.size:
                raise Unfit
            if count <= limits.rows:
                found.append([_plain(value, one) for value, one in zip(row, fields, strict=True)])
            elif not limits.writes:
                return Rows(columns, found, truncated=True, affected=None)
        self._unread = False
        return Rows(columns, found, truncated=count > limits.rows, affected=count if limits.writes else None)


async def _connected(place: Place, timeout: float) -> Any:
    connect: Any = asyncmy.connect
    with _told():
        async with asyncio.timeout(timeout):
            connection = await connect(
                host=place.address,
                port=place.port,
                user=place.user,
                password=place.password.reveal(),
                database=place.database,
                # With it nothing is sent but in TLS, whatever the server says that it can do.
                ssl=tls_context(place),
                charset="utf8mb4",
                init_command=_SESSION,
                # The limit above is the one that counts.
                connect_timeout=max(1, round(timeout) + 1),
                autocommit=None,
                local_infile=False,
                program_name="cordboard",
            )
    return connection


@contextlib.contextmanager
def _told() -> Any:
    """Tells errors of the library in our words; the server's own words, which may hold data, are not in them."""
    try:
        yield
    except MySQLError as error:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if not number or number in _OWN_ERRORS:
            if isinstance(error.__cause__ or error.__context__, OSError):
                raise (error.__cause__ or error.__context__) from None  # type: ignore[misc]
            raise ConnectionError("the connection is gone") from None
        raise Failed(STATUSES.get(number, 500), str(number)) from None
    except (RuntimeError, asyncio.IncompleteReadError):
        # A server that wants a file of ours, or goes away in the middle of a message.
        raise ConnectionError("the server does not answer as it should") from None


def _literals(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Returns the values as SQL writes them; raises InvalidFields naming those that it cannot."""
    made, wrong = {}, []
    for name, value in arguments.items():
        try:
            made[name] = _literal(value)
        except (ValueError, TypeError):
            wrong.append(Violation(f"input.{name}", "is no value that the database can take"))
    if wrong:
        raise InvalidFields(wrong)
    return made


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        if value not in _INTEGERS:
            raise ValueError
        return str(value)
    if isinstance(value, float):
        return f"{value!r}e0" if "e" not in repr(value) else repr(value)
    return _text(value if isinstance(value, str) else orjson.dumps(value).decode())


def _text(value: str) -> str:
    # In hexadecimal no character of a value can be one of the statement's, whatever the server's modes are.
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"


def _type_of(field: Any) -> str:
    if field.type_code in _BINARY and not _is_binary(field):
        return "text"
    return _TYPES.get(field.type_code, "unknown")


def _is_binary(field: Any) -> bool:
    return bool(field.charsetnr == 63)


def _plain(value: Any, field: Any) -> Any:
    """Returns a value as JSON can carry it: exact numbers and what JSON has no type for as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if field.type_code == FIELD_TYPE.JSON:
        return orjson.loads(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        # The session's zone is UTC, and that of a DATETIME is nobody's.
        return value.isoformat() + ("+00:00" if field.type_code == FIELD_TYPE.TIMESTAMP else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(one) for one in value]
    return str(value)
