"""Workspace tokens: the one good shape, each bad one with its word, and what is known of keys over time."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cordboard.core import revocations, tokens
from cordboard.core.errors import CordboardError, DependencyUnavailable, TokenInvalid
from cordboard.core.revocations import CLOCK_MAY_BE_WRONG, Kind, Proof, RevocationList, Revoked, Signal, follow
from cordboard.core.tokens import KEYS_LIVE, REFETCH_AFTER, TokenVerifier
from tests.e2e.forgery import Forger
from tests.fixtures.serving import AUDIENCE, ISSUER, TokenMint

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class FromNow:
    """A time so many seconds from when the test runs: that may be long after it was collected."""

    seconds: int


@dataclass
class Clock:
    """The time as the verifier sees it."""

    ahead: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return self.began + self.ahead


@dataclass
class Auth:
    """Where keys come from; it counts how often it is asked."""

    mints: list[TokenMint]
    asked: int = 0
    away: bool = False

    async def jwks(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise DependencyUnavailable("auth")
        return json.dumps({"keys": [key for mint in self.mints for key in json.loads(await mint.jwks())["keys"]]})


@pytest.fixture(scope="module")
def other() -> TokenMint:
    return TokenMint()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tokens, "time", made)
    return made


@pytest.fixture
def auth(mint: TokenMint) -> Auth:
    return Auth([mint])


@pytest.fixture
def verifier(auth: Auth) -> TokenVerifier:
    return TokenVerifier(auth.jwks, ISSUER, AUDIENCE)


async def problem(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(TokenInvalid) as refused:
        await verifier.verify(token, "envoy")
    assert len(token) < 20 or token not in refused.value.text
    return refused.value.metadata["problem"]


async def test_a_good_token_is_its_caller(verifier: TokenVerifier, mint: TokenMint) -> None:
    caller = await verifier.verify(mint.token("member", "reader", workspace="acme", jti="t-1"), "envoy")
    assert (caller.peer, caller.subject, caller.workspace) == ("envoy", "workspaces/acme", "acme")
    assert (caller.roles, caller.token_id) == (frozenset({"member", "reader"}), "t-1")
    assert (caller.environment, caller.tier, caller.region) == ("production", "business", "eu")
    assert not caller.is_operator


@pytest.mark.parametrize("roles", [("operator",), ("publisher",), ("operator", "publisher")])
async def test_an_operator_and_a_publisher_need_no_workspace(
    verifier: TokenVerifier, mint: TokenMint, roles: tuple[str, ...]
) -> None:
    assert (await verifier.verify(mint.token(*roles), "envoy")).roles == frozenset(roles)


async def test_a_token_known_from_one_peer_is_the_other_peers_too(verifier: TokenVerifier, mint: TokenMint) -> None:
    token = mint.token("operator")
    assert [(await verifier.verify(token, peer)).peer for peer in ("envoy", "client/a", "envoy")] == [
        "envoy", "client/a", "envoy",
    ]  # fmt: skip


async def test_every_forgery_is_refused_each_time_it_comes(verifier: TokenVerifier, mint: TokenMint) -> None:
    forger = Forger(mint.key, mint.kid)
    await verifier.verify(forger.good(), "envoy")
    taken, count = [], 0
    for what, token in forger.bad():
        for _ in range(2):
            count += 1
            try:
                await verifier.verify(token, "envoy")
            except TokenInvalid:
                continue
            taken.append(what)
    assert taken == []
    assert count > 250


CLAIMS: list[tuple[str, Any, str]] = [
    ("exp", FromNow(-60), "expired"),
    ("exp", FromNow(13 * 3600), "claims"),
    ("exp", 2**40, "claims"),
    ("exp", True, "expired"),
    ("exp", None, "malformed"),
    ("iat", None, "malformed"),
    ("iat", FromNow(100), "malformed"),
    ("nbf", FromNow(100), "malformed"),
    ("iss", "https://evil.example", "issuer"),
    ("iss", None, "malformed"),
    ("aud", "other", "audience"),
    ("aud", [AUDIENCE], "audience"),
    ("aud", None, "malformed"),
    ("sub", "a\r\nb", "claims"),
    ("sub", " a", "claims"),
    ("sub", None, "malformed"),
    ("jti", "", "claims"),
    ("jti", "é", "claims"),
    ("roles", "operator", "claims"),
    ("roles", ["root"], "claims"),
    ("roles", [["operator"]], "claims"),
    ("roles", ["member"], "claims"),
    ("roles", [], ""),
    ("roles", None, "claims"),
    ("workspace", "a\nb", "claims"),
    ("region", ["eu"], "claims"),
    ("tier", "x" * 256, "claims"),
]


# Names without times: two workers that collect in two seconds must agree on them.
@pytest.mark.parametrize(("claim", "value", "word"), CLAIMS, ids=[f"{row[0]}-{n}" for n, row in enumerate(CLAIMS)])
async def test_a_wrong_claim_has_its_word(
    verifier: TokenVerifier, mint: TokenMint, claim: str, value: Any, word: str
) -> None:
    given: Any = int(time.time()) + value.seconds if isinstance(value, FromNow) else value
    token = mint.token("operator", **{claim: given})
    if word:
        assert await problem(verifier, token) == word
    else:
        assert (await verifier.verify(token, "envoy")).roles == frozenset()


HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"typ": "JWT"}, "malformed"),
    ({"alg": "none"}, "malformed"),
    ({"alg": "HS256"}, "malformed"),
    ({"alg": "RS512"}, "malformed"),
    ({"crit": ["exp"]}, "malformed"),
    ({"jwk": {"kty": "RSA"}}, "malformed"),
    ({"kid": 1}, "malformed"),
    ({"kid": None}, "malformed"),
    ({"kid": "unknown"}, "signature"),
]


@pytest.mark.parametrize(("changes", "word"), HEADERS)
async def test_a_wrong_header_has_its_word(
    verifier: TokenVerifier, mint: TokenMint, changes: dict[str, Any], word: str
) -> None:
    forger = Forger(mint.key, mint.kid)
    assert await problem(verifier, forger.token(forger.header(**changes))) == word


async def test_another_key_and_other_bytes_have_their_words(verifier: TokenVerifier, mint: TokenMint) -> None:
    forger = Forger(mint.key, mint.kid)
    goods = (forger.token(claims=forger.claims(x="x" * width)) for width in range(3))
    good = next(good for good in goods if len(good.split(".")[1]) % 4)
    await verifier.verify(good, "envoy")
    header, claims, signature = good.split(".")
    doubled = json.dumps(forger.claims())[:-1] + ',"sub":"other"}'
    # Without padding the last character may carry bits that no byte has: another spelling of the same claims.
    respelled = claims[:-1] + ALPHABET[ALPHABET.index(claims[-1]) ^ 1]
    words = {
        "another key": (forger.token(key=rsa.generate_private_key(65537, 2048)), "signature"),
        "four parts": (f"{good}.{signature}", "malformed"),
        "no parts": ("x", "malformed"),
        "nothing": ("", "malformed"),
        "10 KB": ("a." * 5_000, "malformed"),
        "long claims": (forger.token(claims=forger.claims(x="x" * 10_000)), "malformed"),
        "a key twice": (forger.token(claims=doubled), "malformed"),
        "deep": (forger.token(claims="[" * 2_000 + "]" * 2_000), "malformed"),
        "no base64": (f"{header}.{claims[:-1]}*.{signature}", "malformed"),
        "padded": (f"{header}=.{claims}.{signature}", "malformed"),
        "another spelling": (f"{header}.{respelled}.{signature}", "malformed"),
        "beyond ASCII": (f"{header}.é{claims}.{signature}", "malformed"),
    }
    found = {what: await problem(verifier, token) for what, (token, _) in words.items()}
    assert found == {what: word for what, (_, word) in words.items()}


async def test_unknown_keys_cause_one_fetch_an_interval(auth: Auth, clock: Clock, other: TokenMint) -> None:
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    token = other.token("operator")
    for _ in range(20):
        assert await problem(verifier, token) == "signature"
    assert auth.asked == 1
    clock.ahead += REFETCH_AFTER
    await asyncio.gather(*(problem(verifier, token) for _ in range(20)))
    assert auth.asked == 2


async def test_a_new_key_verifies_after_the_interval(
    auth: Auth, clock: Clock, mint: TokenMint, other: TokenMint
) -> None:
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    await verifier.verify(mint.token("operator"), "envoy")
    auth.mints.append(other)
    clock.ahead += REFETCH_AFTER
    # They come together, and all wait for the one fetch.
    await asyncio.gather(*(verifier.verify(other.token("operator"), "envoy") for _ in range(20)))
    assert auth.asked == 2


async def test_a_key_that_left_the_set_stops_verifying(
    auth: Auth, clock: Clock, mint: TokenMint, other: TokenMint
) -> None:
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    token = mint.token("operator")
    await verifier.verify(token, "envoy")
    auth.mints[:] = [other]
    await verifier.verify(token, "envoy")
    clock.ahead += KEYS_LIVE
    assert await problem(verifier, token) == "signature"


async def test_a_key_replaced_under_its_id_stops_verifying(auth: Auth, clock: Clock, mint: TokenMint) -> None:
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    token = mint.token("operator")
    await verifier.verify(token, "envoy")
    replaced = TokenMint()
    replaced.kid = mint.kid
    auth.mints[:] = [replaced]
    clock.ahead += KEYS_LIVE
    assert await problem(verifier, token) == "signature"


async def test_keys_are_fetched_once_while_they_live_and_once_an_interval_after_that(
    auth: Auth, clock: Clock, mint: TokenMint
) -> None:
    # From zero on these times are exact.
    clock.began = 0.0
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    token = mint.token("operator")
    for ahead, asked in ((0, 1), (KEYS_LIVE - 1, 1), (KEYS_LIVE, 2)):
        clock.ahead = ahead
        await verifier.verify(token, "envoy")
        assert auth.asked == asked, ahead
    auth.away = True
    for ahead, asked in ((2 * KEYS_LIVE, 3), (2 * KEYS_LIVE + REFETCH_AFTER, 4)):
        clock.ahead = ahead
        await verifier.verify(token, "envoy")
        assert auth.asked == asked, ahead


async def test_after_the_revocation_of_a_key_its_successor_is_fetched_at_once(
    auth: Auth, mint: TokenMint, other: TokenMint
) -> None:
    known = RevocationList()
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE, known)
    await verifier.verify(mint.token("operator"), "envoy")
    auth.mints.append(other)
    assert await problem(verifier, other.token("operator")) == "signature", "too early to ask again"
    known.take(Signal(1, Revoked(Kind.SIGNING_KEY, mint.kid)))
    assert (await verifier.verify(other.token("operator"), "envoy")).is_operator


async def test_only_so_many_tokens_are_remembered(
    verifier: TokenVerifier, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_CACHE_SIZE", 2)
    made = [mint.token("operator") for _ in range(3)]
    for token in made:
        await verifier.verify(token, "envoy")
    assert list(verifier._known) == made[1:]


async def test_what_is_just_allowed_is_allowed(
    verifier: TokenVerifier, clock: Clock, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr(clock, "time", lambda: now)
    allowed: list[dict[str, Any]] = [{"exp": now + tokens.MAX_LIFETIME}, {"iat": now + tokens.LEEWAY}]
    for times in allowed:
        await verifier.verify(mint.token("operator", **({"iat": now} | times)), "envoy")
    token = mint.token("operator", exp=now + 30)
    await verifier.verify(token, "envoy")
    monkeypatch.setattr(clock, "time", lambda: now + 30 + tokens.LEEWAY)
    await verifier.verify(token, "envoy")
    monkeypatch.setattr(clock, "time", lambda: now + 30 + tokens.LEEWAY + 0.01)
    assert await problem(verifier, token) == "expired"


async def test_a_token_may_be_as_long_as_the_limit(
    verifier: TokenVerifier, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = mint.token("operator")
    monkeypatch.setattr(tokens, "MAX_TOKEN_BYTES", len(token) - 1)
    assert await problem(verifier, token) == "malformed"
    monkeypatch.setattr(tokens, "MAX_TOKEN_BYTES", len(token))
    await verifier.verify(token, "envoy")


async def test_known_keys_outlive_an_outage_of_auth(auth: Auth, clock: Clock, mint: TokenMint) -> None:
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    await verifier.verify(mint.token("operator"), "envoy")
    auth.away = True
    clock.ahead += 2 * KEYS_LIVE
    for _ in range(5):
        assert (await verifier.verify(mint.token("operator"), "envoy")).is_operator
    assert auth.asked == 2, "an Auth that is away is not asked by every call"


async def test_without_any_keys_the_dependency_is_named(auth: Auth, mint: TokenMint) -> None:
    auth.away = True
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    with pytest.raises(CordboardError) as refused:
        await verifier.verify(mint.token("operator"), "envoy")
    assert isinstance(refused.value, DependencyUnavailable)
    auth.away = False
    assert (await verifier.verify(mint.token("operator"), "envoy")).is_operator


async def test_it_is_ready_once_there_are_keys(auth: Auth) -> None:
    auth.away = True
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE)
    with pytest.raises(DependencyUnavailable):
        await verifier.ready()
    auth.away = False
    await verifier.ready()
    asked, auth.away = auth.asked, True
    await verifier.ready()
    assert auth.asked == asked, "keys that are there are not asked for again"


async def test_a_known_token_ends_with_its_time(verifier: TokenVerifier, clock: Clock, mint: TokenMint) -> None:
    token = mint.token("operator", exp=int(time.time()) + 30)
    await verifier.verify(token, "envoy")
    clock.ahead += 29
    await verifier.verify(token, "envoy")
    clock.ahead += 10
    assert await problem(verifier, token) == "expired"


async def test_a_caller_who_leaves_does_not_take_the_fetch_along(mint: TokenMint) -> None:
    release, begun = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await release.wait()
        return await mint.jwks()

    verifier = TokenVerifier(slow, ISSUER, AUDIENCE)
    first = asyncio.create_task(verifier.verify(mint.token("operator"), "envoy"))
    await begun.wait()
    second = asyncio.create_task(verifier.verify(mint.token("operator"), "envoy"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    release.set()
    assert (await second).is_operator


@pytest.mark.parametrize("changes", [{"kty": "EC"}, {"alg": "HS256"}, {"use": "enc"}, {"use": None}])
async def test_a_key_for_something_else_verifies_nothing(mint: TokenMint, changes: dict[str, Any]) -> None:
    (entry,) = json.loads(await mint.jwks())["keys"]

    async def keys() -> str:
        return json.dumps({"keys": [{**entry, **changes}]})

    assert await problem(TokenVerifier(keys, ISSUER, AUDIENCE), mint.token("operator")) == "signature"


def test_the_corpus_speaks_of_the_same_issuer(mint: TokenMint) -> None:
    payload = Forger(mint.key, mint.kid).good().split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["iss"] == ISSUER


async def test_a_weak_key_verifies_nothing(auth: Auth) -> None:
    weak = TokenMint()
    weak.key = rsa.generate_private_key(65537, 1024)
    auth.mints.append(weak)
    token = Forger(weak.key, weak.kid).good()
    assert await problem(TokenVerifier(auth.jwks, ISSUER, AUDIENCE), token) == "signature"


async def test_what_was_revoked_is_refused_from_the_moment_it_is_known(auth: Auth, mint: TokenMint) -> None:
    known = RevocationList()
    verifier = TokenVerifier(auth.jwks, ISSUER, AUDIENCE, known)
    tokens_of = {
        Revoked(Kind.TOKEN, "t-1"): mint.token("member", workspace="acme", jti="t-1"),
        Revoked(Kind.TOKEN, "t-2", workspace="acme"): mint.token("member", workspace="acme", jti="t-2.next"),
        Revoked(Kind.WORKSPACE, "", workspace="beta", generation=3): mint.token(
            "member", workspace="beta", generation=2
        ),
        Revoked(Kind.API_KEY, "k-1"): mint.token("member", workspace="acme", api_key="k-1"),
    }
    good = [
        mint.token("member", workspace="other", jti="t-2"),
        mint.token("member", workspace="beta", generation=3),
        mint.token("member", workspace="acme", api_key="k-2"),
    ]
    for number, (entry, token) in enumerate(tokens_of.items()):
        await verifier.verify(token, "envoy")
        known.take(Signal(number + 1, entry))
        assert await problem(verifier, token) == "revoked"
    for token in good:
        await verifier.verify(token, "envoy")
    known.take(Signal(9, Revoked(Kind.SIGNING_KEY, mint.kid)))
    for token in good:
        assert await problem(verifier, token) == "revoked"


async def test_what_has_expired_anyway_is_forgotten(mint: TokenMint) -> None:
    known = RevocationList()
    known.take(Signal(1, Revoked(Kind.TOKEN, "old", expires=time.time() - CLOCK_MAY_BE_WRONG - 1)))
    known.take(Signal(2, Revoked(Kind.TOKEN, "new", expires=time.time() + 60)))
    assert known.holds(Proof("old", mint.kid))
    known.take(Signal(2))
    assert not known.holds(Proof("old", mint.kid))
    assert known.holds(Proof("new", mint.kid))
    assert known.sequence == 2


async def test_a_clock_that_was_ahead_for_a_while_lets_nobody_in_who_was_revoked(
    auth: Auth, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = RevocationList()
    verifier, token = TokenVerifier(auth.jwks, ISSUER, AUDIENCE, known), mint.token("operator", jti="t-1")
    known.take(Signal(1, Revoked(Kind.TOKEN, "t-1", expires=time.time() + 600)))
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + 7200)
        known.take(Signal(1))
    # The clock is right again, and the token would still be good.
    assert await problem(verifier, token) == "revoked"


async def test_nobody_is_let_in_before_the_first_list_is_there(
    auth: Auth, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "FIRST_LIST", 0.05)
    known = RevocationList()
    known.expect()
    verifier, token = TokenVerifier(auth.jwks, ISSUER, AUDIENCE, known), mint.token("operator")
    with pytest.raises(DependencyUnavailable):
        await verifier.verify(token, "envoy")
    known.take(Signal(0))
    await verifier.verify(token, "envoy")


async def test_a_list_is_followed_through_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "AGAIN_AFTER", 0.001)
    monkeypatch.setattr(revocations, "SILENCE", 0.1)
    known, asked, enough = RevocationList(), [], asyncio.Event()

    async def source(after: int) -> AsyncIterator[Signal]:
        asked.append(after)
        if after == 4:
            enough.set()
        yield Signal(after + 1, Revoked(Kind.TOKEN, f"t-{after + 1}"))
        yield Signal(after + 1)
        if len(asked) == 1:
            raise DependencyUnavailable("auth")
        if len(asked) == 2:
            await asyncio.Event().wait()  # it says nothing any more, and does not end either

    following = asyncio.create_task(follow(source, known))
    async with asyncio.timeout(50):
        await enough.wait()
    following.cancel()
    # Each time from where it was.
    assert asked[:4] == [0, 1, 2, 3]
    assert all(known.holds(Proof(f"t-{number}", "")) for number in (1, 2, 3, 4))


async def test_a_bound_token_needs_its_certificate(verifier: TokenVerifier, mint: TokenMint) -> None:
    token = mint.token("operator", cnf={"x5t#S256": "A" * 43})
    assert (await verifier.verify(token, "client/a", lambda: "A" * 43)).certificate == "A" * 43
    for shown in ("", "A" * 42 + "E", "A" * 42):
        with pytest.raises(TokenInvalid) as refused:
            await verifier.verify(token, "client/a", lambda shown=shown: shown)  # type: ignore[misc]
        assert refused.value.metadata["problem"] == "binding"
