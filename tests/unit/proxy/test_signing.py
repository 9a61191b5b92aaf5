"""Signatures are the published ones, and those that other implementations make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import aiohttp
import botocore.auth  # type: ignore[import-untyped]
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from yarl import URL

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core import sigv4
from cordboard.core.errors import ReconnectRequired
from cordboard.core.secrets import Secret
from cordboard.local.certificates import Identities
from cordboard.proxy.signing import digest, oauth1
from cordboard.proxy.signing.certificates import Certificates, ClientCertificate

# Digest: RFC 7616 section 3.9.1.

MUFASA = digest.DigestUser("Mufasa", Secret("Circle of Life"))
CHALLENGE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
CLIENT_NONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def answered(*headers: str, user: digest.DigestUser = MUFASA, target: str = "/dir/index.html") -> str:
    challenge = digest.strongest(headers)
    assert challenge is not None
    return digest.authorization(challenge, user, "GET", target, CLIENT_NONCE)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digests_are_those_of_the_rfc(algorithm: str, response: str) -> None:
    sent = answered(CHALLENGE.format(algorithm=algorithm))
    assert f'response="{response}"' in sent
    assert f"algorithm={algorithm}" in sent
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in sent
    assert "qop=auth, nc=00000001" in sent
    assert "Circle" not in sent


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-SESS", "SHA-256", "SHA-256-SESS", ""])
@pytest.mark.parametrize("qop", ["auth", ""])
async def test_digests_are_those_of_another_client(algorithm: str, qop: str) -> None:
    told = {"realm": "r", "nonce": "n1", "opaque": "o"} | ({"qop": qop} if qop else {})
    told |= {"algorithm": algorithm} if algorithm else {}
    client: Any = aiohttp.DigestAuthMiddleware("Mufasa", "Circle of Life")
    client._challenge = told
    theirs = told_in(await client._encode("GET", URL("https://api.example/dir/a?b=c%20d"), b""))
    if algorithm.endswith("SESS") and not qop:
        assert "cnonce" not in theirs, "what it hashed cannot be known"
        return
    challenge = digest.strongest(["Digest " + ", ".join(f'{name}="{value}"' for name, value in told.items())])
    assert challenge is not None
    nonce = theirs.get("cnonce", "unused")
    ours = told_in(digest.authorization(challenge, MUFASA, "GET", "/dir/a?b=c%20d", nonce))
    assert ours.items() <= theirs.items()
    assert ours["response"] == theirs["response"]


def test_the_strongest_challenge_is_answered_wherever_it_stands() -> None:
    md5, sha = CHALLENGE.format(algorithm="MD5"), CHALLENGE.format(algorithm="SHA-256")
    assert "algorithm=SHA-256" in answered('Basic realm="x, y"', md5, sha)
    assert "algorithm=SHA-256" in answered(f'Negotiate abc==, {md5}, {sha}, Basic realm="z"')


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic realm=x", "Digest", 'Digest realm="r"', 'Digest realm="r", nonce="n", algorithm=SHA-1',
        'Digest realm="r", nonce="n", qop="auth-int"', 'Digest realm="r", nonce=""',
    ],
)  # fmt: skip
def test_a_challenge_that_cannot_be_answered_is_left_alone(header: str) -> None:
    assert digest.strongest([header]) is None


def test_a_name_is_hashed_where_the_vendor_wants_it_and_encoded_where_it_is_not_ascii() -> None:
    """The user of RFC 7616 section 3.9.2; its hash is printed there."""
    user = digest.DigestUser("Jäsøn Doe", Secret("Secret, or not?"))
    plain = 'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbD"'
    assert "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe" in answered(plain, user=user)
    hidden = answered(f"{plain}, userhash=true", user=user)
    name = hashlib.new("sha512_256", "Jäsøn Doe:api@example.org".encode()).hexdigest()
    assert f'username="{name}"' in hidden
    assert "userhash=true" in hidden


def test_quotes_of_a_vendor_end_no_parameter() -> None:
    sent = answered(r'Digest realm="a\"b\\c", nonce="n", qop="auth"')
    assert r'realm="a\"b\\c"' in sent


@pytest.mark.parametrize(
    "hostile", [", " * 2048 + '"', 'a="' + '\\"' * 2000, "a " * 2048, " " * 4095 + "@", "=" * 4096]
)
def test_a_hostile_challenge_costs_no_more_than_its_length(hostile: str) -> None:
    """An expression that searched would begin anew at each character: 4 KB then cost up to a second."""
    before = time.process_time()
    for _ in range(100):
        digest.strongest([hostile, f"Digest {hostile}"])
    assert time.process_time() - before < 10


# OAuth 1.


def test_the_signature_is_that_of_oauth_core_appendix_a() -> None:
    keys = oauth1.OAuth1Keys(
        "dpf43f3p2l4k3l03", Secret("kd94hf93k423kf44"), "nnch734d00sl2jdk", Secret("pfkkdhi9sl3r4s00")
    )
    url = "http://photos.example.net/photos?file=vacation.jpg&size=original"
    sent = oauth1.authorization(
        keys, pb.OAuth1(realm="Photos"), "GET", url, None,
        nonce="kllo9940pd9333jh", timestamp=1191242096,
    )  # fmt: skip
    assert 'realm="Photos"' in sent
    assert 'oauth_signature="tR3%2BTy81lMeYAr%2FFid0kMTYa%2FWM%3D"' in sent


def base_string(method: str, url: str, form: bytes | None, told: dict[str, str]) -> str:
    """RFC 5849 section 3.4.1, by the letter."""

    def escaped(text: str) -> str:
        return quote(text, safe="-._~")

    split = urlsplit(url)
    pairs = parse_qsl(split.query, keep_blank_values=True)
    pairs += parse_qsl((form or b"").decode(), keep_blank_values=True)
    pairs += [(name, value) for name, value in told.items() if name not in ("realm", "oauth_signature")]
    normal = "&".join(f"{name}={value}" for name, value in sorted((escaped(n), escaped(v)) for n, v in pairs))
    default = {"http": 80, "https": 443}[split.scheme]
    host = split.hostname if split.port in (None, default) else f"{split.hostname}:{split.port}"
    return "&".join((method, escaped(f"{split.scheme}://{host}{split.path or '/'}"), escaped(normal)))


def told_in(header: str) -> dict[str, str]:
    return {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}


REQUESTS = [
    ("GET", "https://api.example/v1/a?b=1&a=2&a=1", None),
    ("GET", "http://api.example:8080/a%20b/c~d?filter[x]=1|2&q=a+b%2Bc&empty=&'=(!*)&u=%C3%A4", None),
    ("POST", "https://api.example/form?z=1", b"name=J%C3%A4son+Doe&z=2&sym=%21%2A%27%28%29&plain=a*b"),
    ("DELETE", "https://api.example/", None),
]


@pytest.mark.parametrize(("method", "url", "form"), REQUESTS)
@pytest.mark.parametrize("name", ["HMAC_SHA1", "HMAC_SHA256"])
def test_signatures_are_over_what_is_sent(name: str, method: str, url: str, form: bytes | None) -> None:
    keys = oauth1.OAuth1Keys("key", Secret("s&cret"), "token", Secret("t=ken"))
    scheme = pb.OAuth1(signature_method=f"O_AUTH1_SIGNATURE_METHOD_{name}")  # type: ignore[arg-type]
    told = told_in(oauth1.authorization(keys, scheme, method, url, form))
    algorithm = hashlib.sha1 if name == "HMAC_SHA1" else hashlib.sha256
    expected = hmac.new(b"s%26cret&t%3Dken", base_string(method, url, form, told).encode(), algorithm).digest()
    assert told["oauth_signature"] == base64.b64encode(expected).decode()
    assert told["oauth_signature_method"] == name.replace("_", "-")


def test_a_private_key_signs() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    keys = oauth1.OAuth1Keys("key", Secret(pem), "token", Secret("unused"))
    scheme = pb.OAuth1(signature_method=pb.O_AUTH1_SIGNATURE_METHOD_RSA_SHA1)
    for method, url, form in REQUESTS:
        told = told_in(oauth1.authorization(keys, scheme, method, url, form))
        signature, text = base64.b64decode(told["oauth_signature"]), base_string(method, url, form, told).encode()
        private.public_key().verify(signature, text, padding.PKCS1v15(), hashes.SHA1())


def test_plain_text_is_the_secrets_themselves() -> None:
    keys = oauth1.OAuth1Keys("key", Secret("s&"), "token", Secret("t"))
    scheme = pb.OAuth1(signature_method=pb.O_AUTH1_SIGNATURE_METHOD_PLAINTEXT)
    assert told_in(oauth1.authorization(keys, scheme, "GET", "https://a.example/", None))["oauth_signature"] == "s%26&t"


def test_each_signature_has_a_nonce_of_its_own() -> None:
    keys = oauth1.OAuth1Keys("key", Secret("s"), "token", Secret("t"))
    made = {
        told_in(oauth1.authorization(keys, pb.OAuth1(), "GET", "https://a.example/", None))["oauth_nonce"] for _ in "ab"
    }
    assert len(made) == 2


# AWS: the published test suite.

EXAMPLE = sigv4.AwsKeys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), Secret(""))
MOMENT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SERVICE = sigv4.Scope("service", "us-east-1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "signature"),
    [
        ("GET", "/", {}, None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", {}, None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/?Param2=value2&Param1=value1", {}, None,
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Param1=value1",
         "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ],
)  # fmt: skip
def test_signatures_are_those_of_the_aws_test_suite(
    method: str, path: str, headers: dict[str, str], body: bytes | None, signature: str
) -> None:
    url = URL(f"https://example.amazonaws.com{path}", encoded=True)
    sent = sigv4.signed(EXAMPLE, SERVICE, method, url, headers, body, MOMENT)["Authorization"]
    assert sent.endswith(f"Signature={signature}")
    assert sent.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ")


@pytest.mark.parametrize("service", ["execute-api", "s3"])
def test_signatures_are_those_of_botocore(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: MOMENT.replace(tzinfo=None))
    draw = random.Random(5849)
    texts = ["a", "B-_.~", "%20x", "%C3%A4", "1+2", "*", "%2F", "A=b", "%7E"]
    for _ in range(200):
        path = "/" + "/".join(draw.choices([*texts, ""], k=draw.randint(0, 4)))
        names = draw.choices(["a", "B", "%20n", "z-1"], k=draw.randint(0, 4))
        query = "&".join(f"{name}={draw.choice(['1', '%20', '%2B', 'x~'])}" for name in names)
        url = f"https://h.example{draw.choice(['', ':8443'])}{path}{'?' if query else ''}{query}"
        method = draw.choice(["GET", "PUT", "POST", "DELETE"])
        body = draw.choice([b"", b'{"a":1}', b"\x00\xff"])
        headers = draw.choice([{}, {"Content-Type": "application/json"}, {"X-Amz-Target": "a  b "}])
        token = draw.choice(["", "session+token/=="])
        theirs = AWSRequest(method=method, url=url, data=body, headers=headers)
        signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(
            Credentials("AKID", "secret", token or None), service, "eu-west-1"
        )
        signer.add_auth(theirs)
        keys = sigv4.AwsKeys("AKID", Secret("secret"), Secret(token))
        ours = sigv4.signed(
            keys, sigv4.Scope(service, "eu-west-1"), method, URL(url, encoded=True), headers, body or None, MOMENT
        )
        assert ours["Authorization"] == theirs.headers["Authorization"], (method, url, headers)
        assert ours.get("X-Amz-Security-Token", "") == token


def test_nothing_planned_stands_in_the_place_of_an_aws_header() -> None:
    forged = {"authorization": "x", "x-amz-date": "y", "X-AMZ-SECURITY-TOKEN": "z", "x-amz-content-sha256": "w"}
    sent = sigv4.signed(EXAMPLE, SERVICE, "GET", URL("https://a.example/"), forged, None, MOMENT)
    assert sorted(sent) == ["Authorization", "X-Amz-Date"]
    assert sent["X-Amz-Date"] == "20150830T123600Z"


# Certificates.


def a_certificate(directory: Path, generation: int = 1, connection: str = "main") -> ClientCertificate:
    chain, key = (directory / "tls.crt").read_text(), (directory / "tls.key").read_text()
    return ClientCertificate(connection, generation, "mtls", Secret(chain), Secret(key))


async def test_a_context_is_made_once_for_a_generation_and_a_newer_one_replaces_it(identities: Identities) -> None:
    certificates, directory = Certificates(), identities.directory("operator")
    first = await certificates.context(a_certificate(directory))
    assert first is await certificates.context(a_certificate(directory))
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    newer = await certificates.context(a_certificate(directory, 2))
    assert newer is not first
    assert list(certificates._contexts) == [("main", 2, "mtls")]


async def test_only_so_many_contexts_are_kept(identities: Identities) -> None:
    certificates, directory = Certificates(kept=2), identities.directory("operator")
    for name in ("a", "b", "a", "c"):
        await certificates.context(a_certificate(directory, connection=name))
    assert [key[0] for key in certificates._contexts] == ["a", "c"]


async def test_a_certificate_that_is_none_is_not_shown(identities: Identities) -> None:
    directory = identities.directory("operator")
    good = a_certificate(directory)
    foreign = a_certificate(identities.directory("proxy")).private_key
    for chain, key in (("", good.private_key), (good.chain.reveal(), foreign), (good.chain.reveal(), Secret("x"))):
        with pytest.raises(ReconnectRequired):
            await Certificates().context(ClientCertificate("main", 1, "mtls", Secret(chain), key))


def test_nothing_shows_a_key(identities: Identities) -> None:
    key = oauth1.OAuth1Keys("k", Secret("canary"), "t", Secret("canary"))
    user = digest.DigestUser("u", Secret("canary"))
    certificate = ClientCertificate("main", 1, "mtls", Secret("canary"), Secret("canary"))
    assert "canary" not in f"{key!r} {user!r} {certificate!r} {EXAMPLE!r}"
