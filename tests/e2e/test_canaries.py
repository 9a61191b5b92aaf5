"""Secrets leave no mark: after calls that went well, failed, and timed out, none is in a log, span, error or table."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from cordboard.auth.v1.credential_service_pb2 import LeaseCredentialRequest
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.client import CordboardError
from cordboard.local.state import read_state
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh, until

SCHEMAS: Final = ("catalog", "auth", "uqi", "flags", "proxy", "telemetry")


@dataclass
class Seen:
    """What a caller was told: texts and trailers of errors."""

    texts: list[str] = field(default_factory=list)


def forms(secret: bytes) -> set[bytes]:
    """Returns a secret as it might be written down: as it is, in base64 of every alignment, hex, URL and JSON."""
    found = {secret, secret.hex().encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret)
        # The ends depend on what stands around the secret.
        inner = encoded[4 if shift else 0 : -4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    text = secret.decode("utf-8", "ignore")
    if text.isprintable() and text:
        found |= {quote(text).encode(), quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
    return {each for each in found if len(each) >= 12}


def hits(content: bytes, canaries: dict[str, bytes]) -> list[str]:
    """Returns the names of the canaries that stand in `content`, in any form."""
    return [name for name, secret in canaries.items() if any(form in content for form in forms(secret))]


def files(folder: Path) -> Iterator[Path]:
    """Yields every file below a folder that is there to be read."""
    yield from (path for path in folder.rglob("*") if path.is_file())


async def canaries_of(desk: Desk, tenant: Tenant) -> dict[str, bytes]:
    """Returns every secret of the running mesh, by name."""
    state = desk.mesh.state_dir
    settings = desk.vendor.settings
    async with desk.mesh.channel("auth", "proxy") as channel:
        lease = await CredentialServiceStub(channel).LeaseCredential(
            LeaseCredentialRequest(connection=tenant.connection), timeout=20
        )
    async with desk.mesh.database() as database:
        signing = await database.fetch("SELECT * FROM auth.signing_key")
    assert lease.access_token
    assert signing
    kek = (state / "keys" / "1.key").read_bytes()
    passwords = json.loads((state / "passwords.json").read_text())
    private = (state / "identities" / "auth" / "tls.key").read_text().splitlines()[1]
    return {
        "OAuth access token": lease.access_token.encode(),
        "OAuth client secret": settings.client_secret.encode(),
        "API key": settings.api_key.encode(),
        "password": settings.basic_password.encode(),
        "workspace token": tenant.token.encode(),
        "signature of a workspace token": tenant.token.rpartition(".")[2].encode(),
        "key-encryption key": kek,
        "private key of a certificate": private.encode(),
        **{f"database password of {role}": password.encode() for role, password in passwords.items()},
    }


async def exercise(desk: Desk, tenant: Tenant, typed: bytes) -> Seen:
    """Calls well, calls a vendor that fails, hangs and cuts, and calls badly; returns what the caller was told."""
    seen = Seen()

    async def attempt(action: str, given: dict[str, object], timeout: float = 20) -> None:
        async with desk.mesh.client(tenant.token) as client:
            try:
                await client.execute(tenant.connection, action, given, timeout=timeout)
            except CordboardError as error:
                cause = error.__cause__
                trailers = getattr(cause, "trailing_metadata", lambda: ())()
                seen.texts.append(f"{error.message} {error.metadata} {error.violations} {trailers}")

    await attempt("get_me", {})
    await attempt("list_tickets", {"limit": 3})
    await attempt("create_ticket", {"subject": 7, "requester_id": typed.decode()})
    with desk.broken(status=500, error_rate=1, path="/v1", times=3):
        await attempt("get_me", {})
    with desk.broken(latency_ms=3000, path="/v1", times=1):
        await attempt("get_me", {}, timeout=0.5)
    with desk.broken(cut_connections=True, path="/v1", times=3):
        await attempt("get_me", {})
    with desk.broken(status=401, error_rate=1, path="/v1", times=1):
        await attempt("get_me", {})
    query = f"state={typed.decode()}&code={typed.decode()}"
    seen.texts.append(str(await desk.mesh.http("GET", f"/connect/callback?{query}")))
    async with desk.mesh.client(f"{typed.decode()}.{typed.decode()}.{typed.decode()}") as stranger:
        try:
            await stranger.execute(tenant.connection, "get_me")
        except CordboardError as error:
            seen.texts.append(f"{error.message} {error.metadata}")
    return seen


async def tables(mesh: RunningMesh) -> dict[str, bytes]:
    """Returns every row of every table of the services, as text, by table."""
    found = {}
    async with mesh.database() as database:
        names = await database.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1::text[])", list(SCHEMAS)
        )
        for schema, table in names:
            rows = await database.fetch(f'SELECT t::text FROM "{schema}"."{table}" t')
            found[f"{schema}.{table}"] = "\n".join(row[0] for row in rows).encode()
            # bytea is written in hex: what is text in it has to be read as text.
            found[f"{schema}.{table} (bytes)"] = b"".join(
                bytes.fromhex(part) for row in rows for part in _hex_parts(row[0])
            )
    return found


def _hex_parts(row: str) -> Iterator[str]:
    for part in row.split("\\x")[1:]:
        digits = part.partition('"')[0].partition(",")[0].rstrip(")")
        if len(digits) % 2 == 0 and all(digit in "0123456789abcdef" for digit in digits):
            yield digits


async def test_no_secret_is_written_anywhere(desk: Desk) -> None:
    tenant = await desk.tenant(by="oauth2")
    await desk.tenant(by="api_key")
    await desk.tenant(by="basic")
    typed = secrets.token_hex(16).encode()
    canaries = await canaries_of(desk, tenant) | {"what a stranger typed as state, code and token": typed}
    seen = await exercise(desk, tenant, typed)
    assert len(seen.texts) >= 6, "the failures were failures"

    async def exported() -> bool:
        async with desk.mesh.database() as database:
            found = await database.fetchval(
                "SELECT count(*) FROM telemetry.span WHERE attributes::text LIKE $1", f"%{tenant.workspace}%"
            )
        return int(found) >= 5

    await until(exported, "the spans")
    told = {f"an error ({index})": text.encode() for index, text in enumerate(seen.texts)}
    logs = {path.name: path.read_bytes() for path in files(desk.mesh.state_dir / "logs")}
    rows = await tables(desk.mesh)
    assert sum(map(len, logs.values())) > 1000
    assert sum(map(len, rows.values())) > 10_000
    found = {place: names for place, content in (told | logs | rows).items() if (names := hits(content, canaries))}
    assert found == {}


async def test_no_secret_is_in_the_files_of_the_database(desk: Desk) -> None:
    tenant = await desk.tenant(by="oauth2")
    canaries = await canaries_of(desk, tenant)
    async with desk.mesh.database() as database:
        await database.execute("CHECKPOINT")
    state = read_state(desk.mesh.state_dir)
    assert state is not None
    wanted = {name: forms(secret) for name, secret in canaries.items()}

    def scan() -> tuple[int, dict[str, list[str]]]:
        size, found = 0, {}
        for path in files(Path(state.data_dir)):
            content = path.read_bytes()
            size += len(content)
            names = [name for name, all_forms in wanted.items() if any(form in content for form in all_forms)]
            if names:
                found[str(path.relative_to(state.data_dir))] = names
        return size, found

    size, found = await asyncio.to_thread(scan)
    assert size > 10_000_000, "the heap and the write-ahead log were read"
    assert found == {}


@pytest.mark.parametrize("write", [lambda s: s, bytes.hex, lambda s: base64.b64encode(b"x" + s), quote])
def test_the_search_finds_what_is_there(write: object) -> None:
    secret = b"s3cr3t/with+odd=chars-" + secrets.token_hex(8).encode()
    written = write(secret)  # type: ignore[operator]
    content = written if isinstance(written, bytes) else written.encode()
    assert hits(b"before " + content + b" after", {"planted": secret}) == ["planted"]


async def test_the_search_finds_a_secret_in_a_table_and_in_the_database_files(desk: Desk) -> None:
    planted = secrets.token_hex(20).encode()
    async with desk.mesh.database() as database:
        await database.execute("CREATE TABLE flags.planted (plain text, bytes bytea)")
        try:
            await database.execute("INSERT INTO flags.planted VALUES ($1, $2)", planted.decode(), planted)
            await database.execute("CHECKPOINT")
            rows = await tables(desk.mesh)
            state = read_state(desk.mesh.state_dir)
            assert state is not None
            on_disk = [path for path in files(Path(state.data_dir)) if hits(path.read_bytes(), {"planted": planted})]
        finally:
            await database.execute("DROP TABLE flags.planted")
    assert hits(rows["flags.planted"], {"planted": planted}) == ["planted"]
    assert hits(rows["flags.planted (bytes)"], {"planted": planted}) == ["planted"]
    assert on_disk
