"""Requests judged by prism: a second opinion, and the only one on Swagger 2.0, deep objects and parts of forms."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cordboard.cli.demo.mock import request_side
from cordboard.planning.plan import Outbound
from tests.judged.openapi import Unjudged, Verdict

PROGRAM: Final = Path(__file__).parent.parent / "node" / "node_modules" / ".bin" / "prism"
PATIENCE: Final = 120.0
_REFUSALS: Final = (400, 401, 404, 405, 415, 422)
_BEYOND: Final = (
    (re.compile(r"^path: .* must have required property"), "names of path parameters with spaces"),
    (re.compile(r"^Invalid content type$"), "lists of objects in a form"),
)
_BEYOND_PARTS: Final = (
    (re.compile(r"must be (object|array)|must match a schema|Reserved characters"), "JSON in the parts of a form"),
)
_REQUIRED: Final = "must have required property"


class Prism:
    """A prism that runs, for one description."""

    def __init__(self, port: int) -> None:
        """Takes where it listens."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def judge(self, request: Outbound, base: str, given: Mapping[str, Any]) -> Verdict:
        """Returns the verdict on the request of an input below `base`, which prism leaves out of account.

        Raises Unjudged.
        """
        path = request.url.removeprefix(base) or "/"
        try:
            self._connection.request(request.method, path, request.body, request.headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise Unjudged(f"prism: {type(problem).__name__}") from None
        if answer.status not in _REFUSALS:
            return Verdict(())
        try:
            told = json.loads(body)
        except ValueError:
            return Verdict(())
        if "stoplight.io/prism" not in str(told.get("type", "")):
            # An answer of that status which the description itself has.
            return Verdict(())
        if str(told["type"]).endswith(("#NO_RESPONSE_DEFINED", "#NOT_FOUND")):
            raise Unjudged("prism: the description has no answer")
        refusals = [
            f"{'.'.join(map(str, one.get('location', [])))}: {one['message']}"
            for one in told.get("validation", ())
            if not _is_about_nothing(one, given)
        ]
        if not told.get("validation"):
            refusals = [str(told.get("title"))[:200]]
        is_multipart = request.headers.get("Content-Type", "").startswith("multipart/")
        for pattern, what in _BEYOND_PARTS if is_multipart else _BEYOND:
            if refusals and all(pattern.search(one) for one in refusals):
                raise Unjudged(f"prism does not read {what}")
        return Verdict(tuple(refusals))

    def close(self) -> None:
        """Lets go of its connection."""
        self._connection.close()


@contextlib.contextmanager
def prism(root: dict[str, Any], folder: Path) -> Iterator[Prism]:
    """Runs prism for a description inside the block; raises Unjudged when it does not start."""
    document = folder / "description.json"
    document.write_text(json.dumps(root if "swagger" in root else request_side(root), default=str))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [str(PROGRAM), "mock", "--host", "127.0.0.1", "--port", str(port), str(document)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port)
        judge = Prism(port)
        try:
            yield judge
        finally:
            judge.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Unjudged(f"prism ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise Unjudged(f"prism did not listen within {PATIENCE:.0f} s")


def _is_about_nothing(told: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Tells whether something is missed in an object that was not sent: prism makes an empty one of a deep object."""
    location = [str(step) for step in told.get("location", ())]
    if _REQUIRED not in str(told.get("message")) or location[:1] not in (["body"], ["query"]) or len(location) < 2:
        return False
    steps = ".".join(location[1:]).split(".")
    value: Any = given
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value in (None, {})
