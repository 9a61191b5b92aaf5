"""The vendor's other doors: digests, signatures, sessions, keys in other places, devices, JWTs, certificates."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from oauthlib.oauth1 import Client as Signer
from yarl import URL

from cordboard import sandbox
from cordboard.sandbox.signatures import REGION, SERVICE, fields

CALLBACK = "https://app.example/callback"


@pytest.fixture
async def vendor() -> AsyncIterator[sandbox.Vendor]:
    async with sandbox.serving(sandbox.Settings(redirect_uris=(CALLBACK,))) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def me(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    """Returns the status, and how the caller proved who it is."""
    async with http.get(url, headers=headers) as answer:
        body = await answer.json()
        return answer.status, body.get("authenticated_by", "")


def digest_header(challenge: str, vendor: sandbox.Vendor, *, password: str, uri: str = "/v1/me", nc: int = 1) -> str:
    """Returns an answer to a challenge (RFC 7616 section 3.4.1)."""
    told, user = fields(challenge), vendor.settings.basic_user

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    one, two = sha(f"{user}:{told['realm']}:{password}"), sha(f"GET:{uri}")
    response = sha(f"{one}:{told['nonce']}:{nc:08x}:cn:auth:{two}")
    return (
        f'Digest username="{user}", realm="{told["realm"]}", nonce="{told["nonce"]}", uri="{uri}", qop=auth, '
        f'nc={nc:08x}, cnonce="cn", algorithm=SHA-256, response="{response}"'
    )


async def test_a_digest_works_once_for_its_request_and_its_count(
    vendor: sandbox.Vendor, http: aiohttp.ClientSession
) -> None:
    url, password = f"{vendor.url}/v1/me", vendor.settings.basic_password
    async with http.get(f"{vendor.url}/auth/challenge") as answer:
        assert answer.status == 401
        challenge = answer.headers["WWW-Authenticate"].removeprefix("Digest ")
    good = digest_header(challenge, vendor, password=password)
    assert (await me(http, url, Authorization=good)) == (200, "digest")
    # The same again is a repetition; the next count is not.
    assert (await me(http, url, Authorization=good))[0] == 401
    assert (await me(http, url, Authorization=digest_header(challenge, vendor, password=password, nc=2)))[0] == 200
    for wrong in (
        digest_header(challenge, vendor, password="wrong", nc=3),
        digest_header(challenge, vendor, password=password, uri="/v1/tickets", nc=3),
    ):
        assert (await me(http, url, Authorization=wrong))[0] == 401


async def test_a_signature_of_aws_is_of_the_very_request(vendor: sandbox.Vendor, http: aiohttp.ClientSession) -> None:
    url = f"{vendor.url}/v1/contacts?per_page=2&q=a%20b"
    settings = vendor.settings

    def signed(secret: str, target: str) -> dict[str, str]:
        request = AWSRequest("GET", target)
        SigV4Auth(Credentials(settings.aws_access_key, secret), SERVICE, REGION).add_auth(request)
        return dict(request.headers)

    async def status(headers: dict[str, str]) -> int:
        async with http.get(URL(url, encoded=True), headers=headers) as answer:
            return answer.status

    good = signed(settings.aws_secret_key, url)
    assert await status(good) == 200
    assert await status(signed("wrong", url)) == 401
    assert await status(signed(settings.aws_secret_key, f"{vendor.url}/v1/contacts?per_page=3")) == 401
    assert await status(good | {"X-Amz-Date": "20200101T000000Z"}) == 401


async def test_a_request_signed_by_oauth_1_is_known_and_comes_once(
    vendor: sandbox.Vendor, http: aiohttp.ClientSession
) -> None:
    vendor.register.access["access-token-1"] = "token-secret-1"
    url, settings = f"{vendor.url}/v1/me", vendor.settings
    for secret, expected in (("token-secret-1", 200), ("wrong", 401)):
        signer = Signer(settings.oauth1_key, settings.oauth1_secret, "access-token-1", secret)
        _, headers, _ = signer.sign(url)
        assert (await me(http, url, **headers))[0] == expected
        assert (await me(http, url, **headers))[0] == 401


async def test_a_key_may_stand_in_the_query_or_in_a_cookie(vendor: sandbox.Vendor, http: aiohttp.ClientSession) -> None:
    key = vendor.settings.api_key
    assert await me(http, f"{vendor.url}/v1/me?api_key={key}") == (200, "api_key")
    assert await me(http, f"{vendor.url}/v1/me", Cookie=f"acme_key={key}") == (200, "api_key")
    assert (await me(http, f"{vendor.url}/v1/me?api_key=wrong"))[0] == 401
    assert (await me(http, f"{vendor.url}/v1/me?api_key={key}", **{"X-Api-Key": key}))[0] == 400


async def test_a_session_ends_after_its_time(http: aiohttp.ClientSession) -> None:
    now = time.time()
    async with sandbox.serving(sandbox.Settings(), clock=lambda: now) as vendor:
        given = {"user": vendor.settings.basic_user, "password": vendor.settings.basic_password}
        async with http.post(f"{vendor.url}/auth/login", json=given) as answer:
            token = (await answer.json())["session"]["token"]
        assert await me(http, f"{vendor.url}/v1/me", **{"X-Session-Token": token}) == (200, "session")
        now += vendor.settings.session_seconds
        assert (await me(http, f"{vendor.url}/v1/me", **{"X-Session-Token": token}))[0] == 401
        async with http.post(f"{vendor.url}/auth/login", json=given | {"password": "wrong"}) as answer:
            assert answer.status == 401


async def test_a_device_waits_for_a_person(http: aiohttp.ClientSession) -> None:
    now = time.time()
    async with sandbox.serving(sandbox.Settings(), clock=lambda: now) as vendor:
        client = {"client_id": vendor.settings.client_id, "client_secret": vendor.settings.client_secret}

        async def post(path: str, **values: str) -> dict[str, Any]:
            async with http.post(f"{vendor.url}{path}", data={**client, **values}) as answer:
                return dict(await answer.json()) if path != "/oauth/device" else {}

        device = await post("/oauth/device_authorization")
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        poll = {"grant_type": grant, "device_code": device["device_code"]}
        assert (await post("/oauth/token", **poll))["error"] == "authorization_pending"
        assert (await post("/oauth/token", **poll))["error"] == "slow_down"
        await post("/oauth/device", user_code=device["user_code"], decision="approve")
        token = (await post("/oauth/token", **poll))["access_token"]
        assert (await me(http, f"{vendor.url}/v1/me", Authorization=f"Bearer {token}"))[0] == 200
        assert (await post("/oauth/token", **poll))["error"] == "invalid_grant"
        late = await post("/oauth/device_authorization")
        now += 601
        poll["device_code"] = late["device_code"]
        assert (await post("/oauth/token", **poll))["error"] == "expired_token"


async def test_a_jwt_speaks_for_an_issuer_whose_key_is_known(
    vendor: sandbox.Vendor, http: aiohttp.ClientSession
) -> None:
    key, other = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    known = {"issuer": "robot", "public_key": public.decode()}
    async with http.post(f"{vendor.url}/_sandbox/trusted-keys", json=known) as answer:
        assert answer.status == 204

    def token(signer: Any, **claims: Any) -> str:
        told = {"iss": "robot", "aud": vendor.url, "exp": int(time.time()) + 60} | claims
        return str(jwt.encode(told, signer, algorithm="RS256"))

    url = f"{vendor.url}/v1/me"
    assert await me(http, url, Authorization=f"Bearer {token(key)}") == (200, "jwt")
    for wrong in (token(other), token(key, aud="https://elsewhere.example"), token(key, exp=1), token(key, iss="x")):
        assert (await me(http, url, Authorization=f"Bearer {wrong}"))[0] == 401
    given = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token(key)}
    async with http.post(f"{vendor.url}/oauth/token", data=given) as answer:
        assert (await answer.json())["token_type"] == "Bearer"


async def test_a_certificate_is_credential_enough(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (tmp_path / "crt.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "crt.pem"))
    server.load_cert_chain(tmp_path / "crt.pem", tmp_path / "key.pem")
    server.verify_mode = ssl.CERT_OPTIONAL
    plain = ssl.create_default_context(cafile=str(tmp_path / "crt.pem"))
    own = ssl.create_default_context(cafile=str(tmp_path / "crt.pem"))
    own.load_cert_chain(tmp_path / "crt.pem", tmp_path / "key.pem")
    async with sandbox.serving(tls=server) as vendor:
        for context, expected in ((own, (200, "mtls")), (plain, (401, ""))):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
                assert await me(http, f"{vendor.tls_url}/v1/me") == expected


async def test_the_key_of_the_application_is_asked_for_when_the_vendor_says_so(
    vendor: sandbox.Vendor, http: aiohttp.ClientSession
) -> None:
    settings = vendor.settings
    pair = base64.b64encode(f"{settings.basic_user}:{settings.basic_password}".encode()).decode()
    url, basic = f"{vendor.url}/v1/me", {"Authorization": f"Basic {pair}"}
    assert (await me(http, url, **basic))[0] == 200
    async with http.patch(f"{vendor.url}/_sandbox/settings", json={"app_key_required": True}) as answer:
        assert answer.status == 200
    assert (await me(http, url, **basic))[0] == 401
    assert await me(http, url, **basic, **{"X-App-Key": settings.app_key}) == (200, "basic")
