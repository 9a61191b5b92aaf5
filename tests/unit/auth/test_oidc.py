"""Sign-in at OpenID providers that forge ID tokens, or answer anything at all."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cordboard.auth import oidc as module
from cordboard.auth.oidc import OpenIdProvider, Person, Registration, challenge
from cordboard.core.egress import Egress
from cordboard.core.errors import CordboardError, DependencyUnavailable, OAuthFailed
from cordboard.core.secrets import Secret
from tests.fixtures.sites import listening

CLIENT: Final = "cordboard"
NONCE: Final = "n" * 43
VERIFIER: Final = "v" * 43
KEY: Final = rsa.generate_private_key(65537, 2048)
STRANGER: Final = rsa.generate_private_key(65537, 2048)
CURVE: Final = ec.generate_private_key(ec.SECP256R1())
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def public(key: Any, **fields: Any) -> dict[str, Any]:
    """Returns a public key as JWKS has it."""
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "use": "sig", **fields}


@dataclass
class Provider:
    """A provider that says what a test wants."""

    issuer: str = ""
    token: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(KEY, kid="one"), public(CURVE, kid="curve")])
    metadata: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.path, form, request.headers.get("Authorization", "")))
        if request.path in self.answers:
            return await self.answers[request.path](request)
        return web.json_response(
            {
                "/.well-known/openid-configuration": {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/auth",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/jwks",
                    **self.metadata,
                },
                "/token": {"id_token": self.token, "access_token": "unused"},
                "/jwks": {"keys": self.keys},
            }[request.path]
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Returns good claims; any can be replaced, or taken out with None."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "ada",
            "exp": now + 300,
            "iat": now,
            "nonce": NONCE,
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def gives(self, *, key: Any = KEY, alg: str = "RS256", kid: str | None = "one", **changes: Any) -> None:
        """Signs the ID token that the token endpoint answers."""
        headers = {} if kid is None else {"kid": kid}
        self.token = jwt.encode(self.claims(**changes), key, algorithm=alg, headers=headers)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    served = Provider()
    app = web.Application()
    app.add_routes([web.route("*", "/{anything:.*}", served.handle)])
    async with listening(app) as url:
        served.issuer = url
        served.gives()
        yield served


async def sign_in(
    provider: Provider, iss: str = "", *, secret: str = "pa:ss", seconds: float = 5.0, plain_http: bool = True
) -> Person:
    """Signs somebody in with a client of our own."""
    async with Egress(["127.0.0.0/8"]).session(timeout=seconds) as session:
        registration = Registration(provider.issuer, CLIENT, Secret(secret) if secret else None, "https://us/back")
        ours = OpenIdProvider(session, registration, plain_http=plain_http)
        return await ours.person("c0de", NONCE, VERIFIER, iss)


async def failure(provider: Provider, **how: Any) -> CordboardError:
    """Returns how a sign-in is refused: in one of two ways, and in no other."""
    with pytest.raises((OAuthFailed, DependencyUnavailable)) as caught:
        await sign_in(provider, **how)
    return caught.value


async def test_an_honest_provider_is_believed(provider: Provider) -> None:
    provider.gives(email="Ada@Example.com", email_verified=True, groups=["a", "b", 3])
    assert await sign_in(provider) == Person("ada", "ada@example.com", frozenset({"a", "b"}))
    _, form, authorization = provider.asked[1]
    assert form == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": "https://us/back",
        "code_verifier": VERIFIER,
    }
    assert authorization == "Basic " + base64.b64encode(b"cordboard:pa%3Ass").decode()


async def test_a_public_client_names_itself_in_the_form(provider: Provider) -> None:
    await sign_in(provider, secret="")
    _, form, authorization = provider.asked[1]
    assert (form["client_id"], authorization) == (CLIENT, "")


@pytest.mark.parametrize("email_verified", [None, False, "true", 1])
async def test_an_address_that_is_not_verified_is_nobodys(provider: Provider, email_verified: Any) -> None:
    provider.gives(email="ada@example.com", email_verified=email_verified)
    assert (await sign_in(provider)).email == ""


async def test_other_algorithms_that_are_sound_are_taken(provider: Provider) -> None:
    provider.gives(alg="PS256")
    assert (await sign_in(provider)).subject == "ada"
    provider.gives(key=CURVE, alg="ES256", kid="curve")
    assert (await sign_in(provider)).subject == "ada"
    # Without a kid there has to be one key only.
    provider.keys = [public(KEY)]
    provider.gives(kid=None)
    assert (await sign_in(provider)).subject == "ada"
    provider.keys = [public(KEY, kid="one")]
    assert (await sign_in(provider)).subject == "ada"
    provider.keys = [public(KEY, kid="one"), public(STRANGER, kid="two")]
    assert isinstance(await failure(provider), OAuthFailed)


@pytest.mark.parametrize(
    ("status", "without", "problem"),
    [
        (400, "", "the provider did not take the code"),
        (201, "", "the provider did not take the code"),
        (200, "id_token", "the provider gave no ID token"),
    ],
)
async def test_an_answer_that_is_no_grant_lets_nobody_in_whatever_is_in_it(
    provider: Provider, status: int, without: str, problem: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        told = {"id_token": provider.token, "access_token": "unused"}
        return web.json_response({name: told[name] for name in told if name != without}, status=status)

    provider.answers["/token"] = answer
    assert (await failure(provider)).metadata == {"problem": problem}


async def test_an_id_token_that_says_anything_wrong_is_refused(provider: Provider) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {"iss": "https://elsewhere.example"}, {"iss": None}, {"iss": [provider.issuer]}, {"iss": f"{provider.issuer}/"},
        {"aud": "somebody-else"}, {"aud": None}, {"aud": []}, {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"}, {"azp": "other"},
        {"nonce": None}, {"nonce": "m" * 43}, {"nonce": ""}, {"nonce": [NONCE]},
        {"exp": now - 3600}, {"exp": None}, {"exp": "soon"}, {"exp": float("nan")},
        {"iat": now - 7200}, {"iat": now + 7200}, {"iat": None}, {"iat": "now"}, {"iat": float("nan")},
        {"nbf": now + 3600},
        {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": "a\nb"}, {"sub": "a" * 300}, {"sub": "é"},
    ]  # fmt: skip
    for changes in [*wrong, {}]:
        raw = json.dumps(provider.claims(**changes)).encode()
        provider.token = jwt.PyJWS().encode(raw, KEY, algorithm="RS256", headers={"alg": "RS256", "kid": "one"})
        if changes:
            assert isinstance(await failure(provider), OAuthFailed), changes
    assert (await sign_in(provider)).subject == "ada", "the control"


async def test_several_audiences_are_taken_where_the_token_says_that_we_asked(provider: Provider) -> None:
    provider.gives(aud=[CLIENT, "other"], azp=CLIENT)
    assert (await sign_in(provider)).subject == "ada"


def part(value: Any) -> str:
    """Returns a part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_an_id_token_that_is_signed_wrongly_is_refused(provider: Provider) -> None:
    claims = part(provider.claims())
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def by_hand(header: Any, signature: bytes = b"") -> str:
        return f"{part(header)}.{claims}.{part(signature)}"

    def with_hmac(key: bytes, **header: Any) -> str:
        signed = f"{part({'alg': 'HS256', 'kid': 'one', **header})}.{claims}"
        return f"{signed}.{part(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"

    provider.gives()
    good = provider.token
    head, body, signature = good.split(".")
    provider.gives(key=STRANGER)
    stranger = provider.token
    provider.gives(key=STRANGER, kid="two")
    unknown = provider.token
    own = jwt.encode(provider.claims(), STRANGER, "RS256", headers={"kid": "one", "jwk": public(STRANGER)})
    linked = jwt.encode(provider.claims(), STRANGER, "RS256", headers={"kid": "one", "jku": f"{provider.issuer}/evil"})
    critical = jwt.encode(provider.claims(), KEY, "RS256", headers={"kid": "one", "crit": ["x"], "x": 1})
    forged = [
        by_hand({"alg": "none"}), by_hand({"alg": "None", "kid": "one"}), by_hand({"kid": "one"}),
        by_hand({"alg": ["RS256"], "kid": "one"}), by_hand({"alg": "RS256", "kid": ["one"]}),
        with_hmac(pem), with_hmac(b"pa:ss"), with_hmac(b"", alg="HS256"),
        stranger, unknown, own, linked, critical,
        f"{head}.{body}.", f"{head}.{part(provider.claims(sub='root'))}.{signature}", f"{head}.{body}", good[:-5],
        "", "a.b.c", "..", good + ".x", "é.é.é", jwt.encode(provider.claims(), CURVE, "ES256", headers={"kid": "one"}),
        by_hand(b"[" * 100_000),
    ]  # fmt: skip
    for token in forged:
        provider.token = token
        assert isinstance(await failure(provider), OAuthFailed), token[:80]
    assert not [path for path, _, _ in provider.asked if path == "/evil"]
    # The control: the same steps let the good one in.
    provider.token = good
    assert (await sign_in(provider)).subject == "ada"


async def test_a_symmetric_key_in_the_published_set_is_no_key(provider: Provider) -> None:
    provider.keys = [{"kty": "oct", "kid": "shared", "k": part(b"k" * 32), "use": "sig"}]
    provider.token = jwt.encode(provider.claims(), b"k" * 32, "HS256", headers={"kid": "shared"})
    assert isinstance(await failure(provider), OAuthFailed)
    provider.keys = [public(KEY, kid="one") | {"use": "enc"}]
    provider.gives()
    assert isinstance(await failure(provider), OAuthFailed)


async def test_keys_that_are_of_no_use_do_not_spoil_the_one_that_is(provider: Provider) -> None:
    strange: list[Any] = [
        1, None, {"kty": "RSA", "kid": "broken"}, public(STRANGER, kid="a") | {"alg": "none"}, {"kty": "EC", "kid": []},
        public(STRANGER, kid="b") | {"alg": "RS1"}, public(CURVE, kid="c") | {"crv": "P-999"},
        {"kty": "OKP", "kid": "d"},
    ]  # fmt: skip
    provider.keys = [*strange, public(KEY, kid="one")]
    assert (await sign_in(provider)).subject == "ada"


async def test_an_answer_of_another_issuer_never_reaches_the_token_endpoint(provider: Provider) -> None:
    for iss in ("https://elsewhere.example", f"{provider.issuer}/", provider.issuer.upper()):
        assert "issuer_mismatch" in (await failure(provider, iss=iss)).text
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    assert "issuer_mismatch" in (await failure(provider)).text
    assert {path for path, _, _ in provider.asked} == {"/.well-known/openid-configuration"}
    assert (await sign_in(provider, provider.issuer)).subject == "ada"


def says(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Returns an answer of these bytes."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" " * 65536)


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits so long")


async def _dripping(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.05)


async def _cut(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"id_token":')
    assert request.transport is not None
    request.transport.abort()
    return answer


HOSTILE: Final[dict[str, Answer]] = {
    "empty": says(b""),
    "html": says(b"<html>no</html>", 200, {"content-type": "text/html"}),
    "list": says(b"[1]"),
    "null": says(b"null"),
    "deep": says(b"[" * 100_000),
    "not text": says(b"\xff\xfe\x00"),
    "a number too long": says(b'{"id_token":' + b"1" * 100_000 + b"}"),
    "wrong types": says(b'{"id_token":{"a":1},"keys":"x","issuer":1}'),
    "keys that are none": says(
        b'{"keys":[1,null,{"kty":"RSA"},{"kty":"EC","kid":[]},{"kty":"RSA","n":"AQAB","e":"x"}]}'
    ),
    "no list of keys": says(b'{"keys":{"kty":"RSA"}}'),
    "a number of keys": says(b'{"keys":7}'),
    "huge": says(b'{"a":"' + b"x" * 1_000_000 + b'"}'),
    "huge when unpacked": says(gzip.compress(b" " * 50_000_000), 200, {"content-encoding": "gzip"}),
    "a wrong encoding": says(b"{}", 200, {"content-encoding": "gzip"}),
    "an error": says(b'{"error":"x"}', 500),
    "a redirect": says(b"", 302, {"location": "/elsewhere"}),
    "a redirect inside": says(b"", 307, {"location": "http://169.254.169.254/latest/meta-data"}),
    "endless": _endless,
    "silent": _silent,
    "dripping": _dripping,
    "cut": _cut,
}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
async def test_whatever_a_hostile_provider_answers_nobody_gets_in_and_it_ends(provider: Provider, path: str) -> None:
    for name, answer in HOSTILE.items():
        provider.answers = {path: answer}
        async with asyncio.timeout(50):
            error = await failure(provider, seconds=0.5)
        assert isinstance(error, (OAuthFailed, DependencyUnavailable)), name
        assert "Traceback" not in error.text
    assert not [
        asked for asked, _, _ in provider.asked if asked not in ("/.well-known/openid-configuration", "/token", "/jwks")
    ]
    provider.answers = {}
    assert (await sign_in(provider)).subject == "ada"


async def test_a_document_that_speaks_for_another_issuer_or_names_no_endpoint_is_not_used(provider: Provider) -> None:
    for metadata in (
        {"issuer": "https://elsewhere.example"}, {"issuer": None}, {"token_endpoint": None}, {"token_endpoint": 7},
        {"token_endpoint": "file:///etc/passwd"}, {"jwks_uri": "ftp://x/"}, {"jwks_uri": "http://169.254.169.254/"},
        {"jwks_uri": "http://[::1"}, {"token_endpoint": "http://10.0.0.1/token"},
    ):  # fmt: skip
        provider.metadata = metadata
        assert isinstance(await failure(provider), DependencyUnavailable), metadata


async def test_no_secret_goes_out_without_tls_unless_that_was_wanted(provider: Provider) -> None:
    assert isinstance(await failure(provider, plain_http=False), DependencyUnavailable)
    assert provider.asked == []


async def test_unknown_keys_do_not_make_us_ask_for_every_sign_in(provider: Provider) -> None:
    async with Egress(["127.0.0.0/8"]).session() as session:
        ours = OpenIdProvider(session, Registration(provider.issuer, CLIENT, None, "https://us/back"), plain_http=True)
        await ours.person("c0de", NONCE, VERIFIER, "")
        provider.gives(key=STRANGER, kid="two")
        for _ in range(5):
            with pytest.raises(OAuthFailed):
                await ours.person("c0de", NONCE, VERIFIER, "")
    assert [path for path, _, _ in provider.asked].count("/jwks") == 1
    assert [path for path, _, _ in provider.asked].count("/.well-known/openid-configuration") == 1


async def test_a_new_key_of_the_provider_counts(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_AGAIN_SECONDS", 0.0)
    async with Egress(["127.0.0.0/8"]).session() as session:
        ours = OpenIdProvider(session, Registration(provider.issuer, CLIENT, None, "https://us/back"), plain_http=True)
        await ours.person("c0de", NONCE, VERIFIER, "")
        provider.keys.append(public(STRANGER, kid="two"))
        provider.gives(key=STRANGER, kid="two")
        assert (await ours.person("c0de", NONCE, VERIFIER, "")).subject == "ada"


async def test_a_person_is_sent_out_with_pkce_state_and_nonce(provider: Provider) -> None:
    provider.metadata = {"authorization_endpoint": f"{provider.issuer}/auth?tenant=1"}
    async with Egress(["127.0.0.0/8"]).session() as session:
        ours = OpenIdProvider(session, Registration(provider.issuer, CLIENT, None, "https://us/back"), plain_http=True)
        query = parse_qs(urlsplit(await ours.authorization_url("s", NONCE, VERIFIER)).query)
    assert query == {
        "tenant": ["1"],
        "response_type": ["code"],
        "client_id": [CLIENT],
        "redirect_uri": ["https://us/back"],
        "scope": ["openid email profile"],
        "state": ["s"],
        "nonce": [NONCE],
        "code_challenge": [challenge(VERIFIER)],
        "code_challenge_method": ["S256"],
    }
