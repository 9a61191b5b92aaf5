"""A Proxy that leaks whatever a caller leaves behind: what the measurements of a long load have to see."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cordboard.core.database import Database
from cordboard.proxy import __main__ as proxy
from cordboard.proxy.admission import Admission
from cordboard.proxy.calls import Call

KEPT: list[Any] = []
MOST_CONNECTIONS = 2
_workspace = Database.workspace
_admitted = Admission.admitted


@contextlib.asynccontextmanager
async def kept_open(database: Database, workspace: str) -> AsyncIterator[AsyncConnection]:
    """Opens a transaction; of those whose caller leaves, the first few are never given back."""
    opened = _workspace(database, workspace)
    connection = await opened.__aenter__()
    try:
        yield connection
    except asyncio.CancelledError:
        if len([one for one in KEPT if isinstance(one, AsyncConnection)]) < MOST_CONNECTIONS:
            KEPT.extend((connection, opened))
            raise
        await opened.__aexit__(None, None, None)
        raise
    except BaseException as error:
        if not await opened.__aexit__(type(error), error, error.__traceback__):
            raise
    else:
        await opened.__aexit__(None, None, None)


@contextlib.contextmanager
def admitted(admission: Admission, call: Call) -> Iterator[None]:
    """Lets a call in; one that is given up leaves a task, a descriptor and some memory behind."""
    with _admitted(admission, call):
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            KEPT.append((asyncio.create_task(asyncio.Event().wait()), os.open(os.devnull, os.O_RDONLY), bytes(100_000)))
            raise


def main() -> None:
    """Serves as the Proxy does."""
    setattr(Database, "workspace", kept_open)  # noqa: B010 - a method is replaced
    setattr(Admission, "admitted", admitted)  # noqa: B010 - a method is replaced
    proxy.main()


if __name__ == "__main__":
    main()
