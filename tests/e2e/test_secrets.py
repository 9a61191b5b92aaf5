"""Secrets stay where they belong: no log, span, error, audit entry, row or file of the mesh holds one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import grpc
import psutil
import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import make_url

from cordboard import sandbox
from cordboard.auth.envelope import Record, _wrap_aad, unwrap
from cordboard.auth.kek import open_ring
from cordboard.auth.store.sealed import PLACES, sealed_rows
from cordboard.auth.v1 import api_key_service_pb2 as api_key_pb
from cordboard.auth.v1 import connect_link_service_pb2 as link_pb
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import login_service_pb2 as login_pb
from cordboard.auth.v1 import vault_service_pb2 as vault_pb
from cordboard.auth.vault import Vault
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.client import Client, CordboardError
from cordboard.common.v1 import options_pb2
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from cordboard.local.certificates import SERVICES
from cordboard.local.postgres import PostgresPrograms
from cordboard.proxy.v1 import subscription_service_pb2 as subscription_pb
from tests.contract.test_auth_modes import PRIVATE
from tests.e2e.forgery import Forger
from tests.e2e.leaks import SHORTEST, Search, forms
from tests.fixtures.desk import INTEGRATION, Desk, Tenant, rollout
from tests.fixtures.mesh import RunningMesh, until

NAMED: Final = "name of a field in an input"
KEPT_BY_THE_MESH: Final = ("keys", "passwords.json", "identities", "ca")


# The kinds of secrets that have to be among those that are looked for, each a word that names begin with.
CLASSES: Final = (
    "workspace token", "operator token", "API key of ours", "OAuth state", "OAuth code", "vendor's code",
    "vendor's access token", "vendor's refresh token", "vendor's session token", "client_secret", "api_key",
    "basic_password", "wrong key", "typed access key", "typed private key", "secret variable", "what a stranger typed",
    "input", "key-encryption key", "workspace key", "data key", "transfer key", "signing key", "database password",
    "TLS key", "PKCE verifier", "connect link's key", "browser's invitation", "operator's session", "webhook secret",
    "sealed",
)  # fmt: skip
# What lies in the vault beside secrets, and is shown in a request or to whoever may see the connection.
NO_SECRETS: Final = ("username", "user", "client_id")
NAMES: Final = {"transferKeys": "transfer key"}
SLUG: Final = "canary-kinds"
# Ways to sign in whose secrets the desk's own document has none of; `url` is the vendor's.
DOCUMENT: Final = """
slug: canary-kinds
title: Kinds of secrets
servers: [{url: %(url)s}]
config_variables: [{name: extra, secret: true, required: true}]
auth_schemes:
- {id: aws, aws_sigv4: {service: desk, region: eu-west-1}}
- {id: own, signed_jwt: {assertion: {issuer: me}}}
- id: session
  fields: [{name: user, plain: true}, {name: password}]
  session:
    method: POST
    url: %(url)s/auth/login
    body: {user: '{user}', password: '{password}'}
    token_pointer: /session/token
    placement: {placement: header, name: X-Session-Token}
actions:
- id: me
  request:
    method: GET
    path: /v1/me
    constants: [{placement: header, name: X-Extra, config_variable: extra}]
"""


class Canaries:
    """Every secret that went through the mesh, by name."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def missing(self) -> set[str]:
        """Returns the classes of which there is none."""
        return {each for each in CLASSES if not any(name.startswith(each) for name in self.found)}

    def add(self, name: str, secret: str | bytes) -> None:
        """Notes a secret; a number tells several of one name apart."""
        assert len(secret) >= SHORTEST, name
        number = sum(1 for known in self.found if known.startswith(name))
        self.found[f"{name} {number}" if number else name] = secret.encode() if isinstance(secret, str) else secret


def parts_of(error: CordboardError) -> list[bytes]:
    """Returns all that a caller is told by an error: text, metadata, headers and trailers."""
    raw = error.__cause__
    told = [repr((str(error), error.metadata, error.violations, error.reason)).encode()]
    if isinstance(raw, grpc.aio.AioRpcError):
        told.append(repr((raw.details(), raw.debug_error_string())).encode())
        for _, value in (*(raw.initial_metadata() or ()), *(raw.trailing_metadata() or ())):
            told.append(value if isinstance(value, bytes) else str(value).encode())
    return told


async def errors_of(calls: list[Any]) -> list[bytes]:
    """Runs calls, most of which fail; returns all that their callers were told."""
    told = []
    for call in calls:
        try:
            await call
        except CordboardError as error:
            told += parts_of(error)
    return told


async def submit(client: Client, tenant: Tenant, scheme: str, values: dict[str, Any], connection: str) -> None:
    """Connects with values that a person types in."""
    session = await client.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{tenant.workspace}",
            integration=INTEGRATION,
            auth_scheme=scheme,
            connection_id=connection,
        )
    )
    given = Struct()
    given.update(values)
    await client.connect.SubmitConnectSession(connecting.SubmitConnectSessionRequest(name=session.name, values=given))


async def consented(desk: Desk, client: Client, tenant: Tenant, canaries: Canaries) -> None:
    """Connects by OAuth, and notes the state and the code on their way through the browser."""
    session = await client.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{tenant.workspace}",
            integration=INTEGRATION,
            auth_scheme=desk.schemes["oauth2"],
            connection_id="by-oauth",
        )
    )
    back = await desk.mesh.backstage.wait(sandbox.consent(desk.mesh.browser, session.authorization_url))
    query = parse_qs(urlsplit(back).query)
    canaries.add("OAuth state", query["state"][0])
    canaries.add("OAuth code", query["code"][0])
    path = back.removeprefix(desk.mesh.mesh.public_url)
    assert (await desk.mesh.http("GET", path)).status == 200
    # A code that comes twice, and one that nobody gave.
    assert "acme_ac" not in (await desk.mesh.http("GET", path)).text
    typed = secrets.token_hex(16)
    canaries.add("what a stranger typed", typed)
    told = await desk.mesh.http("GET", f"/connect/callback?state={typed}&code={typed}")
    assert typed not in told.text
    await desk.mesh.http("GET", path, headers={"authorization": f"Bearer {typed}.{typed}.{typed}"})


async def other_kinds(desk: Desk, client: Client, tenant: Tenant, canaries: Canaries) -> list[str]:
    """Connects by an access key, a private key and a login, each with a secret variable; returns the connections."""
    settings = desk.vendor.settings
    async with desk.mesh.operator() as operator:
        document = DOCUMENT % {"url": desk.vendor.url}
        await operator.catalog.PublishDefinition(catalog_pb.PublishDefinitionRequest(document=document))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{SLUG}"
        await operator.flags.PutFlag(flag)
        request = api_key_pb.CreateApiKeyRequest(
            parent=f"workspaces/{tenant.workspace}", environment="production", roles=[options_pb2.ROLE_READER]
        )
        canaries.add("API key of ours", (await operator.api_keys.CreateApiKey(request)).secret)
    canaries.add("typed access key", settings.aws_secret_key)
    canaries.add("typed private key", PRIVATE.splitlines()[2])
    canaries.add("secret variable", "canary-variable-51c07d7a90")
    made = []
    for scheme, values in (
        ("aws", {"access_key_id": settings.aws_access_key, "secret_access_key": settings.aws_secret_key}),
        ("own", {"private_key": PRIVATE}),
        ("session", {"user": settings.basic_user, "password": settings.basic_password}),
    ):
        session = await client.connect.CreateConnectSession(
            connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{tenant.workspace}",
                integration=f"integrations/{SLUG}",
                auth_scheme=scheme,
                connection_id=f"by-{scheme}",
                secret_configuration={"extra": "canary-variable-51c07d7a90"},
            )
        )
        given = Struct()
        given.update(values)
        submitted = connecting.SubmitConnectSessionRequest(name=session.name, values=given)
        made.append((await client.connect.SubmitConnectSession(submitted)).name)
    return made


async def ways_in(desk: Desk, client: Client, operator: Client, tenant: Tenant, canaries: Canaries) -> None:
    """Makes what lets a person or a webhook in: half a consent, a link, a console's session, a subscription."""
    parent = f"workspaces/{tenant.workspace}"
    # Nobody comes back from this one: its verifier stays.
    pending = connecting.CreateConnectSessionRequest(
        parent=parent, integration=INTEGRATION, auth_scheme=desk.schemes["oauth2"], connection_id="pending"
    )
    sent_to = (await client.connect.CreateConnectSession(pending)).authorization_url
    canaries.add("OAuth state", parse_qs(urlsplit(sent_to).query)["state"][0])
    link = link_pb.CreateConnectLinkRequest(parent=parent, integration=INTEGRATION, connection_id="by-link")
    canaries.add("connect link's key", (await client.connect_links.CreateConnectLink(link)).url.partition("#")[2])
    code = (await operator.login.InviteBrowser(login_pb.InviteBrowserRequest())).code
    canaries.add("browser's invitation", code)
    opened = await desk.mesh.http("POST", "/v1/sessions:open", json={"code": code})
    assert opened.status == 200, opened.text
    canaries.add("operator's session", opened.headers["set-cookie"].partition("=")[2].partition(";")[0])
    canaries.add("operator token", str(opened.json()["accessToken"]).rpartition(".")[2])
    assert (await desk.mesh.http("POST", "/v1/sessions:open", json={"code": code})).status == 400
    target = subscription_pb.Subscription(webhook=subscription_pb.WebhookTarget(url="https://hooks.acme.example/in"))
    reader = subscription_pb.CreateSubscriptionRequest(parent=parent, subscription_id="hook", subscription=target)
    canaries.add("webhook secret", (await client.subscriptions.CreateSubscription(reader)).secret)


async def killed(desk: Desk, client: Client, calls: Sequence[tuple[str, str]]) -> list[bytes]:
    """Kills the Proxy and Auth while they hold secrets in the middle of calls; returns what the callers were told.

    A call is a connection and an action.
    """
    told: list[bytes] = []
    for name in ("proxy", "auth"):
        before = desk.mesh.pids()[name]
        assert before is not None
        # A spent token, so that Auth refreshes one while the vendor is slow.
        desk.vendor.grants.expire_access()
        with desk.broken(latency_ms=1500):
            running = asyncio.gather(*(errors_of([client.execute(*each, timeout=5)]) for each in calls))
            await asyncio.sleep(0.5)
            os.kill(before, signal.SIGKILL)
            told += [part for each in await running for part in each]

        async def back(name: str = name, before: int = before) -> bool:
            return desk.mesh.pids()[name] not in (None, before)

        await until(back, f"{name} to be there again")
        await desk.mesh.backstage.wait(desk.mesh.mesh.wait_ready(60))
    return told


@pytest_asyncio.fixture
async def played(desk: Desk, running_mesh: RunningMesh, forger: Forger) -> AsyncIterator[tuple[Canaries, list[bytes]]]:
    """Every secret, and all that callers were told, after calls that went well, failed, and timed out."""
    canaries, told = Canaries(), []
    settings = desk.vendor.settings
    tenant = await desk.tenant()
    canaries.add("workspace token", tenant.token.rpartition(".")[2])
    operator_token = await running_mesh.token("operator")
    canaries.add("operator token", operator_token.rpartition(".")[2])
    for name in ("client_secret", "api_key", "basic_password"):
        canaries.add(name, getattr(settings, name))
    async with running_mesh.client(tenant.token) as client, running_mesh.client(operator_token) as operator:
        await consented(desk, client, tenant, canaries)
        password = {"username": settings.basic_user, "password": settings.basic_password}
        await submit(client, tenant, desk.schemes["basic"], password, "by-password")
        # A secret that is not one of the vendor's: it fails there, and must not be told either.
        canaries.add("wrong key", "canary-wrong-key-7d1f0c55a8")
        await submit(client, tenant, desk.schemes["api_key"], {"api_key": "canary-wrong-key-7d1f0c55a8"}, "wrong")
        canaries.add("input", "canary-input-5b29e3f1")
        canaries.add(NAMED, "canary-name-e07c41aa")
        connections = [
            f"workspaces/{tenant.workspace}/connections/{each}" for each in ("by-oauth", "by-password", "desk")
        ]
        ticket = {"subject": "canary-input-5b29e3f1", "requester_id": "con_00000001"}
        for connection in connections:
            assert (await client.execute(connection, "create_ticket", ticket)).vendor_status == 201
        wrong = f"workspaces/{tenant.workspace}/connections/wrong"
        failing = [
            client.execute(wrong, "get_me"),
            client.execute(
                connections[0], "create_ticket", {"subject": 7, "canary-name-e07c41aa": "canary-input-5b29e3f1"}
            ),
            client.execute(connections[0], "get_ticket", {"ticket_id": "canary-input-5b29e3f1"}),
            submit(client, tenant, desk.schemes["api_key"], {"api_key": ["canary-wrong-key-7d1f0c55a8"]}, "wrong-2"),
            submit(client, tenant, desk.schemes["basic"], {"password": "canary-wrong-key-7d1f0c55a8"}, "wrong-3"),
            operator.connect.SetOAuthClient(
                connecting.SetOAuthClientRequest(name="?", client_id="a", client_secret=settings.client_secret)
            ),
        ]
        told += await errors_of(failing)
        for fault in ({"status": 500}, {"cut_connections": True}, {"latency_ms": 1500}, {"status": 401, "times": 1}):
            with desk.broken(path="/v1/me", **fault):
                told += await errors_of([client.execute(each, "get_me", timeout=1) for each in connections])
        others = await other_kinds(desk, client, tenant, canaries)
        told += await errors_of([client.execute(each, "me") for each in others])
        for fault in ({"status": 500}, {"latency_ms": 1500}):
            with desk.broken(path="/v1/me", **fault):
                told += await errors_of([client.execute(each, "me", timeout=1) for each in others])
        await ways_in(desk, client, operator, tenant, canaries)
        mine, theirs = ((each, "get_me") for each in connections), ((each, "me") for each in others)
        told += await killed(desk, client, [*mine, *theirs])
        await desk.reach(client, Tenant(tenant.workspace, tenant.token))
        # A refresh: new tokens, and the old refresh token is spent.
        desk.vendor.grants.expire_access()
        await desk.reach(client, Tenant(tenant.workspace, tenant.token))
        await errors_of([client.execute(connections[0], "get_me")])
        told += await errors_of([refused_call(running_mesh, tenant, token) for _, token in list(forger.bad())[:20]])
    keep_books_of(desk, canaries)
    keep_secrets_of(running_mesh, forger, canaries)
    await keep_keys_of_the_vault(running_mesh, canaries)
    yield canaries, told


def keep_books_of(desk: Desk, canaries: Canaries) -> None:
    """Notes what stands in the vendor's own books: every code and token that it ever gave."""
    grants = desk.vendor.grants
    for name, known in (("code", grants._codes), ("access token", grants._access), ("refresh token", grants._refresh)):
        for secret in list(known):
            canaries.add(f"vendor's {name}", secret)
    for secret in list(desk.vendor.access._sessions):
        canaries.add("vendor's session token", secret)


async def refused_call(mesh: RunningMesh, tenant: Tenant, token: str) -> None:
    """Calls with a token that is refused."""
    async with mesh.client(token) as client:
        await client.execute(tenant.connection, "get_me")


def keep_secrets_of(mesh: RunningMesh, forger: Forger, canaries: Canaries) -> None:
    """Notes the mesh's own secrets: key-encryption keys, database passwords, private keys."""
    for path in (mesh.state_dir / "keys").iterdir():
        canaries.add("key-encryption key", path.read_bytes())
    for role, password in json.loads((mesh.state_dir / "passwords.json").read_bytes()).items():
        canaries.add(f"database password of {role}", password)
    private = forger.key.private_numbers()
    for name, number in (("d", private.d), ("p", private.p), ("q", private.q)):
        canaries.add(f"signing key's {name}", number.to_bytes((number.bit_length() + 7) // 8, "big"))
    for path in (mesh.state_dir / "identities").glob("*/tls.key"):
        lines = path.read_text().splitlines()
        canaries.add(f"TLS key of {path.parent.name}", lines[1])


async def keep_keys_of_the_vault(mesh: RunningMesh, canaries: Canaries) -> None:
    """Notes what the vault's records hide: workspaces' keys, data keys, the private halves of transfer keys."""
    async with mesh.operator() as operator:
        await operator.vault.CreateTransferKey(vault_pb.CreateTransferKeyRequest())
    store = Database(mesh.mesh.database_url("auth"))
    try:
        vault = Vault(store, open_ring(f"file:{mesh.state_dir / 'keys'}", networks=()), SystemClock())
        async with store.everywhere() as connection:
            found = [
                row
                for place in PLACES
                for row in await sealed_rows(connection, place, workspace="", after=(), limit=1000)
            ]
        for row in found:
            drawer = await vault.drawer(row.slot.workspace)
            key, record = drawer.current, Record.decode(row.sealed)
            aad = _wrap_aad(row.slot, record.dek_id, record.kek_id, record.kek_version)
            canaries.found[f"workspace key {key.id}"] = key.key.reveal()
            canaries.add("data key", unwrap(key.key, record.wrapped_dek, aad).reveal())
            hidden = drawer.open(row.slot.resource, row.slot.field, row.slot.version, row.sealed).reveal()
            name = NAMES.get(row.slot.resource.partition("/")[0], f"sealed {row.slot.field}")
            if row.slot.field == "code_verifier":
                name = "PKCE verifier"
            if len(hidden) >= SHORTEST and row.slot.field not in NO_SECRETS:
                canaries.add(name, hidden)
    finally:
        await store.close()


async def searched(mesh: RunningMesh, search: Search) -> int:
    """Looks everywhere: log files, configuration, PostgreSQL's rows, its files, its log of changes, and a dump."""
    async with mesh.database() as database:
        await database.execute("CHECKPOINT")
        rows = await search.look_into_tables(database)
        data = Path(await database.fetchval("SHOW data_directory"))
    search.look_into_files(mesh.state_dir, leave_out=[mesh.state_dir / each for each in KEPT_BY_THE_MESH])
    if not data.is_relative_to(mesh.state_dir):
        search.look_into_files(data)
    search.look("dump", await asyncio.to_thread(dumped, mesh))
    for name, line in _command_lines(mesh).items():
        search.look(f"command line of {name}", line)
    for name, environment in _environments(mesh).items():
        search.look(f"environment of {name}", environment)
    return rows


def dumped(mesh: RunningMesh) -> bytes:
    """Returns what a backup of the database has in it."""
    url = make_url(mesh.mesh.database_url("superuser"))
    program = PostgresPrograms.installed().root / "bin" / "pg_dump"
    done = subprocess.run(
        [program, "--host", str(url.host), "--port", str(url.port), "--username", str(url.username), str(url.database)],
        env={**os.environ, "PGPASSWORD": str(url.password)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"COPY auth.credential" in done.stdout
    return done.stdout


def _command_lines(mesh: RunningMesh) -> dict[str, bytes]:
    return {name: " ".join(psutil.Process(pid).cmdline()).encode() for name, pid in mesh.pids().items() if pid}


def _environments(mesh: RunningMesh) -> dict[str, bytes]:
    return {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in mesh.pids().items() if pid}


async def test_no_secret_is_anywhere_it_does_not_belong(
    running_mesh: RunningMesh, played: tuple[Canaries, list[bytes]]
) -> None:
    canaries, told = played
    assert len(CLASSES) == len(set(CLASSES)) == 31
    assert canaries.missing() == set()
    search = Search.for_secrets(canaries.found)
    await _flushed(running_mesh)
    began = time.monotonic()
    rows = await searched(running_mesh, search)
    # An error says which field is wrong, to the one who sent it and to nobody else.
    search.wanted = {form: name for form, name in search.wanted.items() if name != NAMED}
    for number, each in enumerate(told):
        search.look(f"error {number}", each)
    print(
        f"\nsecrets: {len(canaries.found)} of {len(CLASSES)} classes, in {len(search.wanted)} forms; "
        f"{search.looked_at / 1e6:.0f} MB, {rows} rows "
        f"and {len(told)} parts of errors looked at in {time.monotonic() - began:.1f} s; {len(search.hits)} found"
    )
    assert rows > 100
    assert search.looked_at > 10_000_000
    assert len(told) > 50
    assert search.hits == []


async def _flushed(mesh: RunningMesh) -> None:
    # Spans and Envoy's log leave in batches: what the last calls wrote has to be there to be found.
    async with mesh.operator() as operator:
        marker = f"flushed-{time.monotonic_ns()}"
        with contextlib.suppress(CordboardError):
            await operator.execute(f"workspaces/{marker}/connections/none", "none")

    async def logged() -> bool:
        text = await asyncio.to_thread(mesh.mesh.log_file("envoy").read_text)
        return "/cordboard.proxy.v1.ProxyService/Execute" in text[-20_000:]

    await until(logged, "Envoy's log")


async def test_a_secret_that_leaked_on_purpose_is_found(running_mesh: RunningMesh) -> None:
    planted = {
        "in a log": b"canary-log-0c6fb2a94e",
        "in a plain column": b"canary-column-93d1e07b52",
        "in bytes": b"canary-bytes-4410aa97fe",
        "in base64": b"canary-base64-77c2d9e8b1",
        "nowhere": b"canary-nowhere-1f1e2d3c4b",
    }
    search = Search.for_secrets(planted)
    log = running_mesh.mesh.log_file("proxy")
    encoded = next(form for form in forms(b"xx" + planted["in base64"]) if form.isalnum() and form[:2] != b"xx")
    with log.open("ab") as file:
        file.write(
            json.dumps({"event": "planted", "what": planted["in a log"].decode(), "x": encoded.decode()}).encode()
        )
        file.write(b"\n")
    async with running_mesh.database() as database:
        await database.execute("CREATE TABLE public.leak (text text, bytes bytea)")
        try:
            text, raw = planted["in a plain column"].decode(), planted["in bytes"]
            await database.execute("INSERT INTO public.leak VALUES ($1, $2)", text, raw)
            await searched(running_mesh, search)
        finally:
            await database.execute("DROP TABLE public.leak")
    found = {name for name in planted if any(hit.startswith(name) for hit in search.hits)}
    assert found == set(planted) - {"nowhere"}, search.hits
    # In the file of the table too, or in the log of changes: not only where a query looks.
    assert any("in a plain column in" in hit and "public.leak" not in hit for hit in search.hits), search.hits
    assert {"in a plain column in dump", "in bytes in dump"} <= set(search.hits), search.hits


@pytest.mark.parametrize("length", [SHORTEST, 13, 14, 32])
def test_a_secret_is_found_in_base64_wherever_it_begins(length: int) -> None:
    secret = bytes(range(200, 200 + length))
    for before in range(6):
        for after in range(4):
            text = base64.b64encode(b"b" * before + secret + b"a" * after)
            search = Search.for_secrets({"it": secret})
            search.look("base64", text)
            assert search.hits == ["it in base64"], (before, after)
            clean = Search.for_secrets({"it": secret})
            clean.look("base64", base64.b64encode(b"b" * before + secret[::-1] + b"a" * after))
            assert clean.hits == []


def test_no_service_leaves_a_core_file(running_mesh: RunningMesh) -> None:
    pids = running_mesh.pids()
    for service in SERVICES:
        limits = Path(f"/proc/{pids[service]}/limits").read_text().splitlines()
        [line] = [line for line in limits if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"], service
