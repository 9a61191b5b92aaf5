"""Ten thousand bad tokens, bad API keys and bad states: one answer for all of a kind, and nobody else is in trouble.

`COUNT` makes it smaller.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.core import tokens
from cordboard.core.api_keys import new_key
from cordboard.core.tokens import REFETCH_AFTER, TokenVerifier
from tests.contract import test_auth_api_keys
from tests.contract.test_auth_api_keys import create
from tests.fixtures.auth import Auth, consented
from tests.fixtures.serving import Served, TokenMint

COUNT: Final = int(os.environ.get("COUNT", "10000"))
AT_ONCE: Final = 20
ADDRESS: Final = "x-envoy-external-address"

other = test_auth_api_keys.other


async def answers(call: Callable[[int], Awaitable[Any]]) -> Counter[tuple[str, str]]:
    """Makes so many calls, twenty at a time; returns how often each code came with each text."""
    found: Counter[tuple[str, str]] = Counter()

    async def some(first: int) -> None:
        for number in range(first, COUNT, AT_ONCE):
            try:
                answer = await call(number)
            except grpc.aio.AioRpcError as error:
                found[error.code().name, str(error.details())] += 1
            else:
                found["OK", str(answer)] += 1

    await asyncio.gather(*(some(first) for first in range(AT_ONCE)))
    assert sum(found.values()) == COUNT
    return found


def asking(served: Served) -> Callable[..., Awaitable[Any]]:
    """Returns what calls a service with this token or key, from this address."""
    call = CatalogServiceStub(served.channel("envoy")).ListIntegrations

    async def ask(token: str, address: str) -> Any:
        metadata = (("authorization", f"Bearer {token}"), (ADDRESS, address))
        return await call(catalog_pb.ListIntegrationsRequest(), metadata=metadata, timeout=30)

    return ask


async def test_bad_tokens_are_refused_alike_and_ask_for_keys_once_an_interval(
    auth: Auth, other: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches, take = [], TokenVerifier._take_keys

    async def counted(self: TokenVerifier) -> None:
        fetches.append(time.monotonic())
        await take(self)

    monkeypatch.setattr(TokenVerifier, "_take_keys", counted)
    ask, mints = asking(other), [TokenMint() for _ in range(4)]

    async def unknown(number: int) -> Any:
        # Each has a key id of its own, that nobody knows.
        mint = mints[number % len(mints)]
        mint.kid = secrets.token_hex(16)
        return await ask(mint.token("operator"), "192.0.2.1")

    begun = time.monotonic()
    found = await answers(unknown)
    seconds, asked = time.monotonic() - begun, len(fetches)
    print(f"\n{COUNT} tokens of unknown keys in {seconds:.0f} s: {dict(found)}; keys were fetched {asked} times")
    assert [code for code, _ in found] == ["UNAUTHENTICATED"]
    # Auth verifies in this process as well.
    assert asked <= 2 * (seconds / REFETCH_AFTER + 1)
    await ask(await auth.token(), "192.0.2.1")
    # The control: without an interval anybody makes a service ask again and again.
    monkeypatch.setattr(tokens, "REFETCH_AFTER", 0.0)
    fetches.clear()
    await answers(unknown)
    print(f"the control, without an interval: {len(fetches)} times")
    assert len(fetches) > COUNT // 50


async def test_bad_keys_are_refused_alike_and_their_sender_is_slowed_down(auth: Auth, other: Served) -> None:
    good = (await create(auth)).secret
    ask, begun = asking(other), time.monotonic()

    async def one(_: int) -> Any:
        return await ask(new_key("production")[1], "192.0.2.1")

    found = await answers(one)
    codes = Counter({code: sum(n for (each, _), n in found.items() if each == code) for code, _ in found})
    seconds = time.monotonic() - begun
    print(f"\n{COUNT} bad API keys of one sender in {seconds:.0f} s: {dict(codes)}")
    assert set(codes) == {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}
    assert len([text for code, text in found if code == "UNAUTHENTICATED"]) == 1
    assert codes["UNAUTHENTICATED"] < COUNT // 10
    await ask(good, "192.0.2.2")


async def test_bad_states_get_one_answer_and_use_up_none_that_is_good(auth: Auth, vendor: sandbox.Vendor) -> None:
    page = (await auth.begin(connection_id="desk-one")).authorization_url
    state = parse_qs(urlsplit(page).query)["state"][0]
    stub, begun = ConnectServiceStub(auth.served.channel("envoy")), time.monotonic()

    async def one(number: int) -> Any:
        bad = secrets.token_urlsafe(32) if number % 2 else state[: number % len(state)] + secrets.token_urlsafe(8)
        request = connect_pb.HandleCallbackRequest(state=bad, code="made-up", iss=vendor.url)
        return await stub.HandleCallback(request, timeout=30)

    found = await answers(one)
    print(f"\n{COUNT} bad states in {time.monotonic() - begun:.0f} s: {dict(found)}")
    assert len(found) == 1
    assert next(iter(found))[0] == "INVALID_ARGUMENT"
    assert vendor.stats(last=0)["oauth"]["grants"] == 0
    assert "is connected" in await auth.call_back(**await consented(page))
