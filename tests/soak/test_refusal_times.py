"""How long a refusal of an API key takes tells nothing about the key: whether its id exists, how much of it is right.

Two measurements. At the RPC the medians of a known and of an unknown id are compared. Inside, without the network and
the database, the comparison itself is judged as dudect does (Reparaz, Balasch, Verbauwhede 2017): Welch's t of times
below their 90th percentile. Each has a control that leaks. A leak shows each time and a disturbance does not: the
smallest of three counts.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from statistics import fmean, median, variance
from types import SimpleNamespace
from typing import Any, Final

import pytest

from cordboard.auth import api_keys as ring_module
from cordboard.auth.api_keys import ApiKeyRing
from cordboard.auth.store import api_keys as rows
from cordboard.auth.v1 import api_key_service_pb2 as pb
from cordboard.auth.v1 import verification_service_pb2 as verification_pb
from cordboard.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceStub
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.api_keys import check_of, new_key
from cordboard.core.database import Database
from cordboard.core.errors import TokenInvalid
from cordboard.core.secrets import Secret
from tests.fixtures.auth import Auth, refused

PAIRS: Final = int(os.environ.get("PAIRS", "2000"))
LOCAL: Final = 40_000
REPEATS: Final = 3
MOST: Final = 0.05
# What dudect takes for proof of a leak is 10; below 4.5 there is no sign of one.
SIGN: Final = 4.5
PROOF: Final = 10.0


async def a_key(auth: Auth) -> str:
    """Returns a key that Auth knows."""
    request = pb.CreateApiKeyRequest(
        parent="workspaces/acme", environment="production", display_name="nightly job", roles=[roles.ROLE_MEMBER]
    )
    return str((await auth.operator(ApiKeyServiceStub).CreateApiKey(request)).secret)


def another(key: str) -> str:
    """Returns a well-formed key with the same id and another secret."""
    stem = key.rpartition("_")[0]
    text = f"{stem}_{new_key('production')[1].rpartition('_')[2][:-6]}"
    return text + check_of(text)


async def known_over_unknown(auth: Auth, key: str) -> float:
    """Returns how much longer the refusal of a known id takes, as a part of that of an unknown one."""
    stub = VerificationServiceStub(auth.served.channel("catalog"))

    words: set[str] = set()

    async def taken(bad: str) -> float:
        request = verification_pb.ExchangeApiKeyRequest(api_key=bad)
        began = time.perf_counter()
        words.add(str(await refused(stub.ExchangeApiKey(request, timeout=60))))
        return time.perf_counter() - began

    chance, differences, base = random.Random(16), [], []
    for _ in range(PAIRS):
        found: dict[bool, float] = {}
        for known in chance.sample((True, False), 2):
            found[known] = await taken(another(key) if known else new_key("production")[1])
        differences.append(found[True] - found[False])
        base.append(found[False])
    assert len(words) == 1, words
    return median(differences) / median(base)


async def smallest(measure: Callable[[], Any], enough: float) -> float:
    """Returns the smallest of up to three measurements; the first one that is small enough ends it."""
    least = float("inf")
    for _ in range(REPEATS):
        least = min(least, abs(await measure()))
        if least < enough:
            break
    return least


async def test_a_known_and_an_unknown_id_are_refused_in_the_same_time(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await a_key(auth)
    found = await smallest(lambda: known_over_unknown(auth, key), MOST)
    honest = rows.api_key_of

    async def twice(connection: Any, key_id: str) -> Any:
        answer = await honest(connection, key_id)
        return answer if answer[1] is None else await honest(connection, key_id)

    monkeypatch.setattr(rows, "api_key_of", twice)
    control = await smallest(lambda: known_over_unknown(auth, key), MOST)
    print(f"\nrefusals of a known id over an unknown one: {found:+.1%} of {PAIRS} pairs; control {control:+.1%}")
    assert found < MOST
    assert control >= MOST, "a look more at what is known was not noticed"


def leaky(one: bytes, other: bytes) -> bool:
    """Compares from the left, and stops at the first difference."""
    for mine, theirs in zip(one, other, strict=True):  # noqa: SIM110 - the point is how it goes
        if mine != theirs:
            return False
    return True


def welch(ring: ApiKeyRing, shown: str, near: rows.ApiKeyRow, far: rows.ApiKeyRow, current: list[Any]) -> float:
    """Returns Welch's t of the refusals of a key whose digest is almost right and of one that is all wrong."""
    chance, times = random.Random(16), ([], [])  # type: ignore[var-annotated]
    for _ in range(2 * LOCAL):
        side = chance.getrandbits(1)
        current[0] = far if side else near
        asking = ring.token(shown)
        began = time.perf_counter_ns()
        with contextlib.suppress(TokenInvalid):
            asking.send(None)
        times[side].append(time.perf_counter_ns() - began)
    last = sorted((*times[0], *times[1]))[int(1.8 * LOCAL)]
    one, other = ([each for each in side if each <= last] for side in times)
    spread: float = (variance(one) / len(one) + variance(other) / len(other)) ** 0.5
    return (fmean(one) - fmean(other)) / spread


@contextlib.asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield None


async def test_how_much_of_a_digest_is_right_does_not_show(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await a_key(auth)
    async with contextlib.AsyncExitStack() as stack:
        data = Database(auth.database.url)
        stack.push_async_callback(data.close)
        async with data.everywhere() as connection:
            now, row = await rows.api_key_of(connection, key.split("_")[2])
    assert row is not None
    pepper = Secret(os.urandom(32))
    ring = ApiKeyRing(SimpleNamespace(everywhere=nothing), *(None,) * 4)  # type: ignore[arg-type]
    ring._peppers[row.pepper] = pepper
    right = ring_module._digest(pepper, key)
    near = replace(row, digest=right[:-1] + bytes([right[-1] ^ 1]))
    far = replace(row, digest=bytes(each ^ 255 for each in right))
    current = [near]

    async def at_hand(_connection: Any, _key_id: str) -> Any:
        return now, current[0]

    monkeypatch.setattr(rows, "api_key_of", at_hand)

    async def measure() -> float:
        return welch(ring, key, near, far, current)

    found = await smallest(measure, SIGN)
    monkeypatch.setattr(hmac, "compare_digest", leaky)
    control = await smallest(measure, SIGN)
    print(f"\nWelch's t of an almost right and an all wrong digest: {found:.1f}; control {control:.1f}")
    assert found < SIGN
    assert control > PROOF, "a comparison that stops early was not noticed"
