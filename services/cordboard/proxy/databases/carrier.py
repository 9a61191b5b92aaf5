"""The backend that is a database: a statement of the definition's, on a connection of the workspace's."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry.trace import SpanKind
from yarl import URL

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core import telemetry
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import StateConflict
from cordboard.core.secrets import Secret
from cordboard.planning import styles
from cordboard.planning.answers import JSON, Answer
from cordboard.planning.plan import Outbound
from cordboard.planning.statements import Query
from cordboard.planning.variables import refusal
from cordboard.proxy.databases.link import Failed, Limits, Link, Open, Place, Unfit
from cordboard.proxy.databases.mysql import MySqlLink
from cordboard.proxy.databases.postgres import PostgresLink
from cordboard.proxy.retry import Fate
from cordboard.proxy.sender import TIMEOUT, TOO_LARGE, Unanswered
from cordboard.proxy.stages import SEND

if TYPE_CHECKING:
    from cordboard.core.egress import Egress
    from cordboard.proxy.backends.carrier import Attempt, Parcel
    from cordboard.proxy.calls import Call
    from cordboard.proxy.databases.pool import Key, Pool
    from cordboard.proxy.target import Target

ROWS: Final = 1_000
CONNECT_SECONDS: Final = 5.0
_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


@dataclass(frozen=True, slots=True)
class Databases:
    """Runs statements."""

    egress: Egress
    pool: Pool
    max_bytes: int

    async def parcel(self, call: Call, target: Target, request: Outbound) -> Parcel:  # noqa: ARG002 - one interface
        """Returns the statement, ready to run: nothing has been sent.

        Raises StateConflict where the action has none, or the connection's values name no database.
        """
        definition, lease = target.definition, target.lease
        about = definition.database
        engine = ENGINES.get(about.engine) if about is not None else None
        if about is None or engine is None or not isinstance(request, Query):
            name = f"integrations/{definition.slug}/actions/{target.action.id}"
            raise StateConflict(name, "unusable", "the action has no statement, or the integration is no database")
        url = check_url(target.place.base, target.place.hosts)
        user, password = lease.credential.login()
        authority = target.values.of(about.authority_variable) if about.authority_variable else None
        name = _filled(about.name, target)
        limits = Limits(0.0, about.max_rows or ROWS, self.max_bytes, writes=not target.action.safe)
        asked = _Asked(engine, url, name, user, password, str(authority or ""), limits)
        return StatementParcel(self, request, asked, (lease.connection, lease.generation, f"{url.authority}/{name}"))


@dataclass(frozen=True, slots=True)
class _Asked:
    engine: Engine
    url: URL
    database: str
    user: str
    password: Secret[str]
    authority: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class StatementParcel:
    """A statement that goes to a database."""

    databases: Databases
    sent: Query
    asked: _Asked
    key: Key

    @property
    def host(self) -> str:
        """Returns the host with its port."""
        return host_key(self.asked.url)

    async def answer(self, attempt: Attempt) -> Answer:
        """Runs it once; raises Unanswered, EgressDenied and InvalidFields."""
        url = self.asked.url
        span = telemetry.tracer().start_span(
            SEND,
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": self.asked.engine.system,
                "db.namespace": self.asked.database,
                # Written by who wrote the definition: no value is in it.
                "db.query.text": self.sent.text,
                "server.address": url.raw_host or "",
                "server.port": url.port or 0,
                **attempt.labels,
                **({"http.request.resend_count": attempt.resend} if attempt.resend else {}),
            },
        )
        try:
            return await self._run(attempt.timeout)
        except BaseException as error:
            telemetry.mark_failed(span, error)
            if isinstance(error, Unanswered):
                span.set_attribute("error.type", error.problem)
            raise
        finally:
            span.end()

    async def _run(self, timeout: float) -> Answer:
        limits = self.asked.limits
        sent = False
        # One time for all of it: a place in the pool, the address, the connection, the statement.
        scope = asyncio.timeout(timeout)
        try:
            async with (
                scope,
                self.databases.pool.link(self.key, lambda: self._open(min(timeout, CONNECT_SECONDS))) as link,
            ):
                sent = True
                left = (scope.when() or 0.0) - asyncio.get_running_loop().time()
                bounds = Limits(max(0.001, left), limits.rows, limits.size, limits.writes)
                text = self.asked.engine.text(self.sent)
                rows = await link.run(text, self.sent.arguments, bounds)
        except Failed as error:
            # The transaction is gone, so the answer is definite; the server's words stay here.
            return _said(error.status, {"error": {"code": error.code}})
        except Unfit:
            raise Unanswered(Fate.LOST, TOO_LARGE) from None
        except TimeoutError:
            raise Unanswered(Fate.LOST if sent else Fate.NOT_SENT, TIMEOUT) from None
        except ssl.SSLError:
            raise Unanswered(Fate.NOT_SENT, "tls") from None
        except OSError:
            raise Unanswered(Fate.LOST if sent else Fate.NOT_SENT, "reset" if sent else "refused") from None
        return _said(200, rows.plain())

    async def _open(self, timeout: float) -> Link:
        asked = self.asked
        host, port = asked.url.raw_host or "", asked.url.port or 0
        place = Place(
            host=host,
            address=await self.databases.egress.address(host, port),
            port=port,
            database=asked.database,
            user=asked.user,
            password=asked.password,
            tls=asked.url.scheme == "https",
            authority=asked.authority,
        )
        return await asked.engine.open(place, timeout)


def _filled(template: str, target: Target) -> str:
    def value(match: re.Match[str]) -> str:
        found = target.values.of(match[1])
        if found is None:
            name = f"integrations/{target.definition.slug}/versions/{target.definition.version}"
            raise refusal(name, match[1], "has no value")
        return styles.text(found)

    return _NAME.sub(value, template)


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of database server."""

    system: str
    """As the semantic conventions of traces name it."""
    open: Open
    text: Callable[[Query], str]
    """Gives a statement as the link takes it."""


ENGINES: Final[Mapping[int, Engine]] = {
    pb.DATABASE_ENGINE_POSTGRESQL: Engine("postgresql", PostgresLink.open, attrgetter("numbered")),
    pb.DATABASE_ENGINE_MYSQL: Engine("mysql", MySqlLink.open, attrgetter("text")),
}


def _said(status: int, value: Any) -> Answer:
    return Answer(status, JSON, orjson.dumps(value))
