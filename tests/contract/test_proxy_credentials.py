"""Credentials of every kind as vendors get them: judged there, on the bytes that arrive."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import botocore.auth  # type: ignore[import-untyped]
import grpc
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from cryptography import x509
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.auth.v1 import credential_service_pb2 as auth_pb
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.local.certificates import Identities
from tests.contract.test_proxy_sending import redirect
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import OK, Arrival, RawVendor, a_vendor, point
from tests.unit.proxy.running import CONNECTION, Mesh, a_mesh, calls, execute, refusal, stream
from tests.unit.proxy.samples import COOKIE, HEADER, PATH, QUERY, SLUG, a_body, a_parameter, an_action
from tests.unit.proxy.test_signing import base_string, told_in

BODY = pb.PLACEMENT_BODY
GRANT = pb.TokenGrant(token_url="https://vendor.example/t")
BASIC = auth_pb.BasicCredential(username="ada", password="canary-password")
OAUTH1 = auth_pb.OAuth1Credential(
    consumer_key="key", consumer_secret="canary-s&", token="canary-token", token_secret="canary-t="
)
AWS = auth_pb.AwsCredential(access_key_id="AKID", secret_access_key="canary-key", session_token="canary-session")
ACTIONS = (
    an_action("get", "GET", "/x/{id}", a_parameter("id", PATH), a_parameter("q"), a_parameter("key")),
    an_action("post", "POST", "/x", body=a_body(pb.BODY_ENCODING_JSON, "a", "key")),
    an_action("form", "POST", "/x", a_parameter("q"), body=a_body(pb.BODY_ENCODING_FORM, "a", "key")),
    an_action("upload", "POST", "/x", body=a_body(pb.BODY_ENCODING_MULTIPART, "a")),
    an_action("bare", "POST", "/x"),
    an_action("list", "GET", "/x", a_parameter("q"), paging=pb.Paging(link=pb.LinkPaging())),
)
IN_PATH = an_action("in_path", "GET", "/bot{key}/x", a_parameter("q"))


@pytest.fixture
async def mesh(
    serving: Serving, identities: Identities, database: Databases, spans: InMemorySpanExporter
) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as one:
        yield one
        # Whatever a test did: no secret of it stands anywhere.
        kept = "".join(str(each) for each in await calls(one))
        told = "".join(span.to_json() for span in spans.get_finished_spans())
        assert "canary" not in kept + told
        assert "cordboard.proxy.v1.ProxyService/Execute" in told


async def connected(mesh: Mesh, url: str, *schemes: pb.AuthScheme, **parts: Any) -> str:
    """Connects with the last of the schemes; returns the connection's name."""
    last = schemes[-1]
    actions = (*ACTIONS, IN_PATH) if last.api_key.placement == PATH else ACTIONS
    await point(mesh, url, *actions, auth_schemes=schemes)
    name = f"workspaces/acme/connections/{last.id}"
    fields = parts.pop("fields", {})
    configuration = parts.pop("configuration", {})
    leased = [auth_pb.CredentialPart(auth_scheme=each, fields=fields, **value) for each, value in parts.items()]
    await mesh.around.connect(name, integration=SLUG, auth_scheme=last.id, parts=leased, configuration=configuration)
    return name


def a_key(placement: pb.Placement.ValueType, name: str = "key", prefix: str = "") -> pb.ApiKey:
    return pb.ApiKey(placement=placement, name=name, prefix=prefix)


def in_turn(*answers: bytes) -> Callable[[Arrival, asyncio.StreamWriter], Any]:
    left = list(answers)

    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return reply


def an_answer(status: int, *headers: str, body: bytes = b"{}") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""))
    return head.encode() + body


def url_of(vendor: RawVendor, arrival: Arrival) -> str:
    return vendor.url + arrival.line.split(" ")[1]


# A value in a place.


@pytest.mark.parametrize(
    ("key", "action", "given", "seen"),
    [
        (a_key(HEADER, "X-Key", "Key "), "get", {"id": "1"}, lambda one: one.values("x-key") == ["Key canary/1"]),
        (a_key(QUERY, prefix="k:"), "get", {"id": "1", "q": "a", "key": "forged"},
         lambda one: one.line == "GET /x/1?q=a&key=k%3Acanary%2F1 HTTP/1.1"),
        (a_key(COOKIE), "get", {"id": "1"}, lambda one: one.values("cookie") == ["key=canary%2F1"]),
        (a_key(PATH), "in_path", {"q": "{key}"}, lambda one: one.line == "GET /botcanary%2F1/x?q=%7Bkey%7D HTTP/1.1"),
        (a_key(BODY), "post", {"a": 12345678901234567890, "key": "forged"},
         lambda one: one.body == b'{"a":12345678901234567890,"key":"canary/1"}'),
        (a_key(BODY), "form", {"a": "b c", "key": "forged"}, lambda one: one.body.endswith(b"&key=canary%2F1")
         and b"forged" not in one.body and one.body.startswith(b"a=b")),
        (a_key(BODY), "bare", {}, lambda one: one.body == b'{"key":"canary/1"}'),
        (a_key(BODY), "upload", {"a": "b"}, lambda one: one.body.count(b"Content-Disposition") == 2
         and b'name="key"\r\n\r\ncanary/1\r\n--' in one.body and one.body.startswith(b"--")),
    ],
)  # fmt: skip
async def test_a_key_is_where_the_scheme_says(
    mesh: Mesh, key: pb.ApiKey, action: str, given: dict[str, Any], seen: Callable[[Arrival], bool]
) -> None:
    async with a_vendor() as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", api_key=key), it={"token": "canary/1"})
        request = execute(action, connection=name, input_json=json.dumps(given))
        await mesh.stub().Execute(request)
        [arrival] = vendor.arrivals
        assert seen(arrival), arrival


async def test_a_key_for_the_body_is_not_sent_where_there_is_none(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", api_key=a_key(BODY)), it={"token": "canary"})
        refused = await refusal(mesh.stub().Execute(execute("get", {"id": "1"}, connection=name)))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert vendor.arrivals == []


PLACED = a_key(HEADER, "X-Session", "S ")


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({"bearer": pb.Bearer()}, "authorization", "Bearer canary"),
        ({"bearer": pb.Bearer(prefix="Token")}, "authorization", "Token canary"),
        ({"oauth2": pb.OAuth2()}, "authorization", "Bearer canary"),
        ({"client_credentials": pb.ClientCredentials(grant=GRANT)}, "authorization", "Bearer canary"),
        ({"device": pb.DeviceAuthorization(grant=GRANT)}, "authorization", "Bearer canary"),
        ({"jwt_bearer": pb.JwtBearer(grant=GRANT)}, "authorization", "Bearer canary"),
        ({"signed_jwt": pb.SignedJwt()}, "authorization", "Bearer canary"),
        ({"signed_jwt": pb.SignedJwt(placement=PLACED)}, "x-session", "S canary"),
        ({"session": pb.SessionLogin()}, "authorization", "Bearer canary"),
        ({"session": pb.SessionLogin(placement=PLACED)}, "x-session", "S canary"),
    ],
)
async def test_a_token_goes_where_its_kind_says(mesh: Mesh, fields: dict[str, Any], header: str, value: str) -> None:
    async with a_vendor() as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", **fields), it={"token": "canary"})
        await mesh.stub().Execute(execute("bare", connection=name))
        [arrival] = vendor.arrivals
        assert arrival.values(header) == [value]
        assert len(arrival.values("authorization")) == (header == "authorization")


async def test_a_user_name_is_made_of_fields_and_a_password_is_what_the_definition_says(mesh: Mesh) -> None:
    scheme = pb.AuthScheme(id="it", basic=pb.Basic(username="{email}/{tenant}/token", password="x"))
    async with a_vendor() as vendor:
        name = await connected(
            mesh, vendor.url, scheme, it={"basic": auth_pb.BasicCredential()},
            fields={"email": "canary{tenant}@a.example"}, configuration={"tenant": "t1"},
        )  # fmt: skip
        await mesh.stub().Execute(execute("bare", connection=name))
        [sent] = vendor.arrivals[0].values("authorization")
        assert base64.b64decode(sent.removeprefix("Basic ")) == b"canary{tenant}@a.example/t1/token:x"


# Digest.


class DigestVendor:
    """Asks for a digest, and judges it with the formula of RFC 7616 section 3.4.1."""

    def __init__(self, algorithm: str, *, refuses: bool = False) -> None:
        self.algorithm = algorithm
        self.refuses = refuses
        self.nonces = 0

    async def reply(self, arrival: Arrival, writer: asyncio.StreamWriter) -> None:
        sent = "".join(arrival.values("authorization"))
        if self.good(arrival, told_in(sent)) and not self.refuses:
            writer.write(OK)
        else:
            self.nonces += 1
            challenge = f'Digest realm="r", qop="auth", algorithm={self.algorithm}, nonce="n{self.nonces}"'
            writer.write(an_answer(401, 'WWW-Authenticate: Basic realm="r"', f"WWW-Authenticate: {challenge}"))
        await writer.drain()

    def good(self, arrival: Arrival, told: dict[str, str]) -> bool:
        def hashed(text: str) -> str:
            algorithm = hashlib.md5 if self.algorithm == "MD5" else hashlib.sha256
            return algorithm(text.encode()).hexdigest()

        method, target, _ = arrival.line.split(" ")
        user = hashed("ada:r:canary-password")
        text = f"{user}:n{self.nonces}:00000001:{told.get('cnonce')}:auth:{hashed(f'{method}:{target}')}"
        return told.get("response") == hashed(text) and told["uri"] == unquote(target) and told["username"] == "ada"


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_challenge_is_answered_within_the_attempt(mesh: Mesh, algorithm: str) -> None:
    async with a_vendor(DigestVendor(algorithm).reply) as vendor:
        scheme = pb.AuthScheme(id="it", digest=pb.Digest())
        name = await connected(mesh, vendor.url, scheme, it={"basic": BASIC})
        answer = await mesh.stub().Execute(execute("form", {"q": "ä b", "a": "1"}, connection=name))
        first, second = vendor.arrivals
        assert first.values("authorization") == []
        assert (first.line, first.body) == (second.line, second.body) == (first.line, b"a=1")
        assert answer.call.attempts == 1
        assert "canary" not in str(vendor.arrivals)


async def test_a_digest_that_is_refused_is_not_sent_again(mesh: Mesh) -> None:
    async with a_vendor(DigestVendor("SHA-256", refuses=True).reply) as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", digest=pb.Digest()), it={"basic": BASIC})
        refused = await refusal(mesh.stub().Execute(execute("bare", connection=name)))
        assert refused.reason == "RECONNECT_REQUIRED"
        assert len(vendor.arrivals) == 2


async def test_a_challenge_of_another_scheme_gets_no_password(mesh: Mesh) -> None:
    async with a_vendor(an_answer(401, 'WWW-Authenticate: Basic realm="r"')) as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", digest=pb.Digest()), it={"basic": BASIC})
        assert (await refusal(mesh.stub().Execute(execute("bare", connection=name)))).reason == "RECONNECT_REQUIRED"
        assert len(vendor.arrivals) == 1


# OAuth 1.


def judged(vendor: RawVendor, arrival: Arrival) -> str:
    """Returns the nonce of a request whose signature is right."""
    [header] = arrival.values("authorization")
    told = told_in(header)
    form = arrival.body if "form-urlencoded" in "".join(arrival.values("content-type")) else None
    text = base_string(arrival.line.split(" ")[0], url_of(vendor, arrival), form, told)
    digest = hmac.new(b"canary-s%26&canary-t%3D", text.encode(), hashlib.sha256).digest()
    assert told["oauth_signature"] == base64.b64encode(digest).decode()
    return told["oauth_nonce"]


SIGNED = pb.OAuth1(signature_method=pb.O_AUTH1_SIGNATURE_METHOD_HMAC_SHA256)


async def test_each_attempt_is_signed_anew(mesh: Mesh) -> None:
    async with a_vendor(in_turn(an_answer(503), OK)) as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", oauth1=SIGNED), it={"oauth1": OAUTH1})
        await mesh.stub().Execute(execute("get", {"id": "a/b ä", "q": "!*'() +~"}, connection=name))
        first, second = (judged(vendor, arrival) for arrival in vendor.arrivals)
        assert first != second


async def test_a_form_is_signed_and_so_is_where_a_redirect_leads(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", oauth1=SIGNED), it={"oauth1": OAUTH1})
        await mesh.stub().Execute(execute("form", {"q": "1", "a": "ä !*'() +~"}, connection=name))
        vendor.reply = redirect(302, "/y?z=1%202", "")
        await mesh.stub().Execute(execute("get", {"id": "1"}, connection=name))
        assert [arrival.line.split(" ")[1] for arrival in vendor.arrivals] == ["/x?q=1", "/x/1", "/y?z=1%202"]
        assert len({judged(vendor, arrival) for arrival in vendor.arrivals}) == 3


async def test_each_page_is_signed(mesh: Mesh) -> None:
    pages = (an_answer(200, 'Link: </x?q=2%20a>; rel="next"', body=b"[1]"), an_answer(200, body=b"[2]"))
    async with a_vendor(in_turn(*pages)) as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", oauth1=SIGNED), it={"oauth1": OAUTH1})
        got = [page async for page in mesh.stub().ExecuteStream(stream("list", {"q": "1"}, connection=name))]
        assert len(got) == 2
        assert [arrival.line.split(" ")[1] for arrival in vendor.arrivals] == ["/x?q=1", "/x?q=2%20a"]
        assert len({judged(vendor, arrival) for arrival in vendor.arrivals}) == 2


async def test_a_key_beside_the_signature_is_signed_with_the_rest(mesh: Mesh) -> None:
    schemes = (
        pb.AuthScheme(id="one", oauth1=SIGNED),
        pb.AuthScheme(id="two", api_key=a_key(QUERY)),
        pb.AuthScheme(id="both", all_of=pb.AllOf(auth_schemes=["one", "two"])),
    )
    async with a_vendor() as vendor:
        name = await connected(mesh, vendor.url, *schemes, one={"oauth1": OAUTH1}, two={"token": "canary"})
        await mesh.stub().Execute(execute("get", {"id": "1"}, connection=name))
        [arrival] = vendor.arrivals
        assert arrival.line == "GET /x/1?key=canary HTTP/1.1"
        judged(vendor, arrival)
        lame = await connected(mesh, vendor.url, *schemes[:2], pb.AuthScheme(id="lame", all_of=schemes[2].all_of),
                               one={"oauth1": OAUTH1})  # fmt: skip
        refused = await refusal(mesh.stub().Execute(execute("get", {"id": "1"}, connection=lame)))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert len(vendor.arrivals) == 1


# AWS.


def of_botocore(vendor: RawVendor, arrival: Arrival, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns how botocore signs what arrived."""
    [stamp] = arrival.values("x-amz-date")
    moment = datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: moment)
    kept = {name: value for name, value in arrival.headers if name.lower() == "content-type"}
    request = AWSRequest(
        method=arrival.line.split(" ")[0], url=url_of(vendor, arrival), data=arrival.body, headers=kept
    )
    SigV4Auth(Credentials("AKID", "canary-key", "canary-session"), "execute-api", "eu-west-1").add_auth(request)
    return str(request.headers["Authorization"])


async def test_what_arrives_is_signed_for_aws_each_time(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = pb.AuthScheme(id="it", aws_sigv4=pb.AwsSigV4(service="execute-api", region="{region}"))
    async with a_vendor(in_turn(an_answer(503), OK)) as vendor:
        name = await connected(mesh, vendor.url, scheme, it={"aws": AWS}, configuration={"region": "eu-west-1"})
        await mesh.stub().Execute(execute("get", {"id": "a/b ä", "q": "!*'() +~"}, connection=name))
        await mesh.stub().Execute(execute("post", {"a": "ä"}, connection=name))
        assert len(vendor.arrivals) == 3
        for arrival in vendor.arrivals:
            assert arrival.values("authorization") == [of_botocore(vendor, arrival, monkeypatch)]
            assert arrival.values("x-amz-security-token") == ["canary-session"]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"aws_sigv4": pb.AwsSigV4(service="s", region="r")}, {"aws": AWS}),
        ({"oauth1": SIGNED}, {"oauth1": OAUTH1}),
        ({"digest": pb.Digest()}, {"basic": BASIC}),
        ({"api_key": a_key(QUERY)}, {"token": "canary"}),
    ],
)
async def test_nothing_is_shown_to_another_host(mesh: Mesh, fields: dict[str, Any], part: dict[str, Any]) -> None:
    async with a_vendor() as other, a_vendor(redirect(302, f"http://127.0.0.1:{other.port}/")) as vendor:
        name = await connected(mesh, vendor.url, pb.AuthScheme(id="it", **fields), it=part)
        refused = await refusal(mesh.stub().Execute(execute("get", {"id": "1"}, connection=name)))
        assert refused.reason == "EGRESS_DENIED"
        assert "canary" not in repr(refused)
        assert (len(vendor.arrivals), other.arrivals) == (1, [])


# Client certificates.


def a_server(identities: Identities) -> ssl.SSLContext:
    directory = identities.directory("envoy-public")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    tls.load_verify_locations(directory / "ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


@pytest.fixture
def trusted(identities: Identities, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(identities.directory("operator") / "ca.crt"))


def a_certificate(identities: Identities, name: str) -> dict[str, Any]:
    directory = identities.directory(name)
    chain, key = (directory / "tls.crt").read_text(), (directory / "tls.key").read_text()
    return {"certificate": auth_pb.CertificateCredential(certificate_chain=chain, private_key=key)}


@pytest.mark.usefixtures("trusted")
async def test_each_connection_shows_its_own_certificate(mesh: Mesh, identities: Identities) -> None:
    shown: list[str] = []

    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        peer = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        shown.append(peer.subject.rfc4514_string().removeprefix("CN="))
        writer.write(OK)
        await writer.drain()

    async with a_vendor(reply, a_server(identities)) as vendor:
        url = vendor.url.replace("http:", "https:")
        schemes = (
            pb.AuthScheme(id="mtls", mtls=pb.ClientCertificate()),
            pb.AuthScheme(id="key", api_key=a_key(HEADER, "X-Api-Key")),
            pb.AuthScheme(id="both", all_of=pb.AllOf(auth_schemes=["mtls", "key"])),
        )
        both = await connected(mesh, url, *schemes, mtls=a_certificate(identities, "operator"), key={"token": "canary"})
        alone = "workspaces/acme/connections/alone"
        part = auth_pb.CredentialPart(auth_scheme="mtls", **a_certificate(identities, "proxy"))
        await mesh.around.connect(alone, integration=SLUG, auth_scheme="mtls", parts=[part])
        for name in (both, alone, both, alone):
            await mesh.stub().Execute(execute("bare", connection=name))
        assert shown == ["operator", "proxy", "operator", "proxy"]
        assert [arrival.values("x-api-key") for arrival in vendor.arrivals] == [["canary"], [], ["canary"], []]
        # Nobody's certificate is shown for a connection that has none: the vendor does not talk to it.
        plain = await refusal(mesh.stub().Execute(execute("bare", connection=CONNECTION)))
        assert plain.reason == "VENDOR_UNREACHABLE"
        assert len(vendor.arrivals) == 4


@pytest.mark.usefixtures("usual_authorities")
async def test_a_certificate_is_shown_to_no_vendor_that_nobody_vouches_for(mesh: Mesh, identities: Identities) -> None:
    async with a_vendor(tls=a_server(identities)) as vendor:
        name = await connected(
            mesh, vendor.url.replace("http:", "https:"), pb.AuthScheme(id="it", mtls=pb.ClientCertificate()),
            it=a_certificate(identities, "operator"),
        )  # fmt: skip
        refused = await refusal(mesh.stub().Execute(execute("bare", connection=name)))
        assert (refused.reason, refused.metadata["problem"]) == ("VENDOR_UNREACHABLE", "tls")
        assert vendor.arrivals == []


async def test_a_certificate_is_not_left_out_silently(mesh: Mesh, identities: Identities) -> None:
    async with a_vendor() as vendor:
        name = await connected(
            mesh, vendor.url, pb.AuthScheme(id="it", mtls=pb.ClientCertificate()),
            it=a_certificate(identities, "operator"),
        )  # fmt: skip
        refused = await refusal(mesh.stub().Execute(execute("bare", connection=name)))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert vendor.arrivals == []
