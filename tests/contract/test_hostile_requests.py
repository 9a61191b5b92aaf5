"""Hostile requests at every path of the JSON API, through Envoy: no fault of ours, no hang, errors in one shape.

`EXAMPLES` is how many requests each operation gets. The same seed makes the same requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

import tests.contract.services as contract
from cordboard.local.certificates import SERVICES
from tests.contract import test_malformed_input as malformed
from tests.contract.mutations import DOCUMENTS, TEXTS, names_of
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import Answer

tokens = malformed.tokens

EXAMPLES: Final = int(os.environ.get("EXAMPLES", "4"))
SEED: Final = int(os.environ.get("CORDBOARD_FUZZ_SEED", "20260105"))
AT_ONCE: Final = 8
SECONDS: Final = 60.0
# A service that says so may be too busy, too slow, or not do that: each has its own words.
MEANT: Final = (501, 503, 504)
LEAKS: Final = re.compile(r"Traceback|File \"|\.py\b|site-packages|asyncpg|sqlalchemy|grpc\.aio|<class '|0x[0-9a-f]{8}")
# Whose answers are pages, or of another API's shape.
OTHERS: Final = ("ConnectPageService", "TryPageService", "ConsolePageService", "OfrepService", "ConnectJsonService")
# What the transcoder says in words of its own: the body is no JSON that fits, or the query is not known.
PLAIN: Final = (400, 404, 405, 413, 415, 431)
DIGITS: Final = "9" * 5_000
TYPES: Final = ("application/json", "application/json", "application/json", "text/plain", "application/xml", "x", "")
# Elsewhere than in the protos: Forward, webhooks, discovery, and what is next to them.
MORE: Final = (
    "/proxy/", "/proxy/{}", "/proxy/{}/{}", "/webhooks/{}", "/webhooks/" + "a" * 43, "/.well-known/{}", "/ofrep/v1/{}",
    "/ofrep/v1/evaluate/flags/{}", "/connect/{}", "/login/{}", "/console/assets/{}", "/try/assets/{}", "/v1/{}", "/{}",
    "/cordboard.auth.v1.CredentialService/{}",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One way to ask: a verb, a path with variables, and the message that it becomes."""

    verb: str
    path: str
    method: MethodDescriptor | None = None
    body: bool = False

    @property
    def title(self) -> str:
        """The verb and the path."""
        return f"{self.verb} {self.path}"


def operations() -> list[Operation]:
    """Returns every operation that the protos declare, and what there is beside them."""
    found = []
    for service in SERVICES:
        for method in contract.methods(service):
            if malformed.COSTLY.get(method.descriptor.name) is not None:
                continue
            rule: Any = method.descriptor.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]
            for each in (rule, *rule.additional_bindings):
                kind = each.WhichOneof("pattern")
                if kind in {"get", "put", "post", "delete", "patch"}:
                    found.append(Operation(kind.upper(), getattr(each, kind), method.descriptor, bool(each.body)))
    return found + [Operation(verb, path, None, verb == "POST") for path in MORE for verb in ("GET", "POST", "DELETE")]


class Hostile:
    """Hostile requests of operations, out of one stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self, operation: Operation) -> tuple[str, dict[str, str], bytes]:
        """Returns a path with its query, headers, and a body."""
        path = re.sub(r"\{[^}]*\}", lambda _: self._segment(operation), operation.path)
        fields = [] if operation.method is None else operation.method.input_type.fields
        query = [(each.name, self._text()) for each in fields if self._random.random() < 0.2]
        if self._random.random() < 0.2:
            query.append((self._text(), self._text()))
        if query and self._random.random() < 0.7:
            path += "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
        headers = {"content-type": self._random.choice(TYPES)}
        if self._random.random() < 0.2:
            name = self._random.choice(("grpc-timeout", "accept", "content-encoding", "traceparent", "x-http-method"))
            headers[name] = self._random.choice(("99999999H", "-1S", "0n", "gzip", "00-0-0-00", "*/*", "x" * 2000))
        # Envoy may send the caller to another spelling, and clients take no longer header.
        return path[:4_000], headers, self._body(operation) if operation.body else b""

    def _segment(self, operation: Operation) -> str:
        if operation.method is not None and self._random.random() < 0.5:
            return self._random.choice(names_of(operation.method))
        return quote(self._text(), safe="/" if self._random.random() < 0.5 else "")

    def _text(self) -> str:
        return self._random.choice(TEXTS)[:300]

    def _body(self, operation: Operation) -> bytes:
        kind = self._random.randrange(5)
        if kind == 0:
            return self._random.randbytes(self._random.choice((1, 20, 2000)))
        if kind == 1:
            return self._random.choice(DOCUMENTS).encode()
        if kind == 2:
            return self._random.choice((f'{{"a": {DIGITS}}}', "[" * 20_000, '{"a":' * 500 + "1" + "}" * 500)).encode()
        fields = [] if operation.method is None else operation.method.input_type.fields
        return json.dumps(
            {each.json_name: self._value(each) for each in fields if self._random.random() < 0.6}
        ).encode()

    def _value(self, each: FieldDescriptor) -> Any:
        values: list[Any] = [self._text(), float("nan"), float("inf"), None, [], {}, -1, 2**63, True, [None], {"": 1}]
        values += [[self._text()] * 3, {"a": {"b": [self._text()]}}]
        if each.message_type is None and self._random.random() < 0.5:
            return self._text()
        return self._random.choice(values)


def look_at(answer: Answer, operation: Operation, token: str) -> None:
    """Checks what holds for every answer."""
    text = answer.body.decode(errors="replace")
    shown = f"{operation.title}: {answer.status} {text[:300]}"
    assert answer.status < 500 or answer.status in MEANT, shown
    assert token not in text, operation.title
    if answer.status < 400:
        return
    assert not LEAKS.search(text), shown
    kind = answer.headers.get("content-type", "")
    service = "" if operation.method is None else operation.method.containing_service.name
    if kind.startswith("application/json") and service not in OTHERS and operation.method is not None:
        body = json.loads(text)
        assert isinstance(body.get("code"), int), shown
        assert isinstance(body.get("message"), str), shown
    elif operation.method is not None and service not in OTHERS:
        assert kind.startswith("text/plain") or not text, shown
        assert answer.status in {*PLAIN, 307}, shown


def token_for(operation: Operation, tokens: Mapping[str, str], number: int) -> str:
    """Returns a token that may ask for it: an operator's, or a member's."""
    if operation.method is None:
        return tokens["operator"]
    doors = malformed.doors(contract.Method(operation.method), dict(tokens))
    return doors[number % len(doors)].token or tokens["operator"]


async def test_hostile_requests_are_answered_in_words_of_ours(desk: Desk, tokens: dict[str, str]) -> None:
    before = desk.mesh.restarts(), desk.mesh.pids()
    made, counts, wrong, slowest = Hostile(SEED), Counter[int](), list[str](), 0.0
    every = operations()

    def work() -> Iterator[tuple[Operation, str, tuple[str, dict[str, str], bytes]]]:
        for number in range(EXAMPLES):
            for operation in every:
                yield operation, token_for(operation, tokens, number), made.request(operation)

    todo = work()

    async def worker() -> None:
        nonlocal slowest
        for operation, token, (path, headers, body) in todo:
            sent = headers | {"authorization": f"Bearer {token}"}
            began = time.monotonic()
            try:
                # Streams of news have no end: their beginning is enough.
                async with asyncio.timeout(SECONDS if not endless(operation) else 3.0):
                    answer = await desk.mesh.http(operation.verb, path, headers=sent, data=body or None)
            except TimeoutError:
                if not endless(operation):
                    wrong.append(f"{operation.title} {path[:300]}: no answer within {SECONDS:.0f} s")
                continue
            slowest = max(slowest, time.monotonic() - began)
            counts[answer.status] += 1
            try:
                look_at(answer, operation, token)
            except (AssertionError, ValueError) as error:
                wrong.append(f"{str(error)[:600]} <- {path[:300]!r} {headers} {body[:300]!r}")

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    print(
        f"\n{len(every)} operations, {counts.total()} requests, seed {SEED}: {dict(counts)}; the slowest took "
        f"{slowest:.1f} s",
        *wrong[:30],
        sep="\n",
    )
    assert not wrong, "\n".join(wrong[:30])
    assert counts[400] > counts.total() / 10
    assert counts.total() >= len(every)
    assert (desk.mesh.restarts(), desk.mesh.pids()) == before


def endless(operation: Operation) -> bool:
    """Whether what is answered is a stream."""
    return "events" in operation.path or (operation.method is not None and operation.method.server_streaming)


JSON: Final = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, JSON, b'{"code": 13, "message": "x"}'),
        (502, {}, b""),
        (400, JSON, b'{"code": 3, "message": "Traceback (most recent call last)"}'),
        (400, JSON, b'{"code": 3, "message": "the-token"}'),
        (400, JSON, b'{"error": "x"}'),
        (400, {"content-type": "text/html"}, b"<h1>x</h1>"),
        (403, {"content-type": "text/plain"}, b"no"),
    ],
)
def test_what_would_be_wrong_is_noticed(status: int, headers: dict[str, str], body: bytes) -> None:
    operation = operations()[0]
    look_at(Answer(400, JSON, b'{"code": 3, "message": "x"}'), operation, "the-token")
    with pytest.raises(AssertionError):
        look_at(Answer(status, headers, body), operation, "the-token")
