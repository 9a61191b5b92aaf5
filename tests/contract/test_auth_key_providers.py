"""Every key provider, real or the strictest stand-in there is, under one and the same set of promises."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cordboard.auth.envelope import Unreadable
from cordboard.auth.kek import KeyRing, KeysRefused, open_ring
from cordboard.auth.kek.provider import current_key
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret
from tests.fixtures.aws import moto
from tests.fixtures.transit import Transit

LOOPBACK = ("127.0.0.0/8",)
KEY = bytes(range(32))
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
KINDS = ("file", "env", "transit", "awskms", "pkcs11")


@dataclass
class Provided:
    """A ring with one provider, and how to give it another key or take it away."""

    ring: KeyRing
    uri: str
    rotate: Callable[[], Awaitable[None]] | None = None


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    """The address of a moto server, which keeps to what KMS promises about encryption contexts."""
    with moto() as url:
        yield url


def create_kms_key(endpoint: str) -> str:
    """Makes a key in moto; returns its ARN."""
    request = urllib.request.Request(
        endpoint,
        data=b"{}",
        headers={
            "X-Amz-Target": "TrentService.CreateKey",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kms/aws4_request, "
            "SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["KeyMetadata"]["Arn"])


def create_token(folder: Path) -> None:
    """Makes a SoftHSM token with one AES key, and a file with its PIN."""
    (folder / "tokens").mkdir()
    (folder / "softhsm.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    (folder / "pin").write_text("648219\n")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "cordboard", "--pin", "648219", "--so-pin", "9142"],
        check=True,
        capture_output=True,
    )


ADD_KEY = """
import sys
import pkcs11
token = pkcs11.lib(sys.argv[1]).get_token(token_label="cordboard")
with token.open(user_pin="648219", rw=True) as session:
    hidden = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
    key_id = int(sys.argv[2]).to_bytes(2, "big")
    session.generate_key(pkcs11.KeyType.AES, 256, label="kek", id=key_id, store=True, template=hidden)
"""


def add_token_key(version: int) -> None:
    """Makes a key inside the token, from another process; nobody can read it out."""
    subprocess.run([sys.executable, "-c", ADD_KEY, str(SOFTHSM), str(version)], check=True)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a SoftHSM token. The module reads its configuration once in the life of a process."""
    pytest.importorskip("pkcs11")
    if not SOFTHSM.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (Debian: softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm.conf")
    create_token(folder)
    add_token_key(1)
    yield folder
    del os.environ["SOFTHSM2_CONF"]


def of_files(folder: Path) -> Provided:
    (folder / "keys").mkdir(mode=0o700)

    def put(version: int) -> None:
        path = folder / "keys" / f"{version}.key"
        path.write_bytes(os.urandom(32))
        path.chmod(0o400)

    async def rotate() -> None:
        put(2)

    put(1)
    uri = f"file:{folder / 'keys'}"
    return Provided(open_ring(uri, networks=()), uri, rotate)


def of_kms(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Provided:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    uri = f"awskms:{create_kms_key(endpoint)}?endpoint={endpoint}"
    return Provided(open_ring(uri, networks=LOOPBACK), uri)


def of_token(folder: Path) -> Provided:
    async def rotate() -> None:
        await asyncio.to_thread(add_token_key, 2)

    uri = f"pkcs11:token=cordboard;object=kek?module-path={SOFTHSM}&pin-source=file:{folder / 'pin'}"
    return Provided(open_ring(uri, networks=()), uri, rotate)


def of_transit(engine: Transit) -> Provided:
    async def rotate() -> None:
        engine.rotate()

    return Provided(open_ring(engine.url, networks=LOOPBACK), engine.url, rotate)


@pytest.fixture(params=KINDS)
async def provided(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transit: Transit
) -> AsyncIterator[Provided]:
    """One provider after the other."""
    if request.param == "file":
        made = of_files(tmp_path)
    elif request.param == "env":
        monkeypatch.setenv("TEST_KEK", f"1:{base64.b64encode(KEY).decode()}")
        made = Provided(open_ring("env:TEST_KEK", networks=()), "env:TEST_KEK")
    elif request.param == "transit":
        made = of_transit(transit)
    elif request.param == "awskms":
        made = of_kms(request.getfixturevalue("kms"), monkeypatch)
    else:
        made = of_token(request.getfixturevalue("token"))
    yield made
    await made.ring.close()


async def test_what_was_wrapped_is_unwrapped_and_bound(provided: Provided) -> None:
    ring = provided.ring
    await ring.health()
    blob = await ring.wrap(b"binding", Secret(KEY))
    assert KEY not in blob
    assert (await ring.unwrap(b"binding", blob)).reveal() == KEY
    # The control of the binding: with another one there is nothing.
    with pytest.raises(Unreadable):
        await ring.unwrap(b"bindinh", blob)
    assert ring.key_id(blob).startswith(ring.name)
    assert await ring.wrap(b"binding", Secret(KEY)) != blob


async def test_a_changed_or_cut_blob_is_unreadable(provided: Provided) -> None:
    blob = await provided.ring.wrap(b"binding", Secret(KEY))
    damaged = [blob[:cut] for cut in (0, 1, 3, 4, len(blob) // 2, len(blob) - 1)]
    for position in (0, 3, 5, len(blob) // 2, len(blob) - 2):
        changed = bytearray(blob)
        changed[position] ^= 0x10
        damaged.append(bytes(changed))
    # moto answers 500 to a ciphertext without its structure, where KMS says InvalidCiphertextException.
    refused = (Unreadable, DependencyUnavailable) if provided.uri.startswith("awskms") else Unreadable
    for each in damaged:
        with pytest.raises(refused):
            await provided.ring.unwrap(b"binding", each)


# A variable is read once, and AWS does not tell its versions: their keys change by a second provider.
@pytest.mark.parametrize("provided", ["file", "transit", "pkcs11"], indirect=True)
async def test_a_newer_key_wraps_and_the_older_one_still_unwraps(provided: Provided) -> None:
    ring = provided.ring
    assert provided.rotate is not None
    before = await ring.wrap(b"binding", Secret(KEY))
    assert ring.key_id(before) == await current_key(ring)
    await provided.rotate()
    await ring.refresh()
    after = await ring.wrap(b"binding", Secret(KEY))
    assert ring.key_id(before) != ring.key_id(after) == await current_key(ring)
    for blob in (before, after):
        assert (await ring.unwrap(b"binding", blob)).reveal() == KEY


async def test_an_engine_that_is_away_is_told_from_a_wrong_key(transit: Transit) -> None:
    ring = open_ring(transit.url, networks=LOOPBACK)
    blob = await ring.wrap(b"binding", Secret(KEY))
    transit.down = True
    for call in (ring.wrap(b"binding", Secret(KEY)), ring.unwrap(b"binding", blob), ring.health()):
        with pytest.raises(DependencyUnavailable):
            await call
    transit.down = False
    assert (await ring.unwrap(b"binding", blob)).reveal() == KEY
    await ring.close()


async def test_a_provider_in_a_network_that_is_not_open_is_not_reached(transit: Transit) -> None:
    ring = open_ring(transit.url, networks=())
    with pytest.raises(DependencyUnavailable):
        await ring.health()
    assert transit.asked == []
    await ring.close()


async def test_a_token_that_is_renewed_in_its_file_is_used(transit: Transit, tmp_path: Path) -> None:
    ring = open_ring(transit.url, networks=LOOPBACK)
    good = (tmp_path / "transit-token").read_text()
    (tmp_path / "transit-token").write_text("old")
    with pytest.raises(DependencyUnavailable):
        await ring.health()
    (tmp_path / "transit-token").write_text(good)
    await ring.health()
    await ring.close()


async def test_one_provider_takes_the_place_of_another(transit: Transit, tmp_path: Path) -> None:
    files = of_files(tmp_path)
    old = await files.ring.wrap(b"binding", Secret(KEY))
    both = open_ring(f"{transit.url} {files.uri}", networks=LOOPBACK)
    new = await both.wrap(b"binding", Secret(KEY))
    assert both.key_id(old) == "file/1"
    assert both.key_id(new) == "transit/transit/cordboard/1"
    for blob in (old, new):
        assert (await both.unwrap(b"binding", blob)).reveal() == KEY
    alone = open_ring(transit.url, networks=LOOPBACK)
    with pytest.raises(Unreadable):
        await alone.unwrap(b"binding", old)
    assert (await alone.unwrap(b"binding", new)).reveal() == KEY
    for ring in (both, alone):
        await ring.close()


def test_the_variable_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = base64.b64encode(KEY).decode()
    monkeypatch.setenv("TEST_KEK", encoded)
    open_ring("env:TEST_KEK", networks=(), keep=True)
    assert os.environ["TEST_KEK"] == encoded
    open_ring("env:TEST_KEK", networks=())
    assert "TEST_KEK" not in os.environ


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("", "must name a key provider"),
        ("   ", "must name a key provider"),
        ("/etc/keys", "must begin with"),
        ("none:", "must begin with"),
        ("file:/nonexistent", "cannot be read"),
        ("env:", "name of a variable"),
        ("env:NOT_SET_ANYWHERE", "is empty"),
        ("env:BAD_KEK", "not 32 bytes"),
        ("transit:https://bao.example/transit/k", "token-file"),
        ("transit:bao.example?token-file={file}", "https://HOST"),
        ("transit:https://bao.example/k?token-file={file}", "https://HOST"),
        ("awskms:alias/mine", "the ARN of a key"),
        ("awskms:arn:aws:kms:eu-west-1:1:key/x", "the ARN of a key"),
        ("pkcs11:object=k", "token is missing"),
        ("pkcs11:token=t;object=k", "module-path is missing"),
        ("pkcs11:token=t;object=k?module-path=/nonexistent.so&pin-source={file}", "module-path must name a file"),
    ],
)
def test_a_wrong_uri_is_refused_with_what_is_wrong(
    uri: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if uri.startswith(("pkcs11", "awskms")):
        pytest.importorskip("pkcs11")
        pytest.importorskip("botocore")
    monkeypatch.setenv("BAD_KEK", "c2hvcnQ=")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "file").write_text("x")
    with pytest.raises(KeysRefused, match=told):
        open_ring(uri.replace("{file}", str(tmp_path / "file")), networks=())
