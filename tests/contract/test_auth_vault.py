"""The vault on a real database: what is moved, changed or looked at by SQL."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from cordboard import sandbox
from cordboard.auth.envelope import Unreadable
from cordboard.auth.kek import FileKeys
from cordboard.auth.settings import AuthSettings
from cordboard.auth.vault import CACHE_SECONDS, SYSTEM, Vault
from cordboard.core.database import Database
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret
from cordboard.core.settings import load
from cordboard.core.times import SystemClock
from cordboard.local.certificates import Identities
from tests.fixtures.auth import RECONNECT, UNAVAILABLE, Auth, refused
from tests.fixtures.postgres import Databases
from tests.fixtures.transit import Transit

TENANTS = (
    "workspace",
    "workspace_key",
    "connect_session",
    "connect_link",
    "connection",
    "credential",
    "connection_change",
    "revocation",
    "workspace_oauth_client",
    "workspace_configuration",
    "api_key",
    "sealing_key",
    "audit_entry",
)


class Hours(SystemClock):
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def filled(auth: Auth) -> None:
    """Makes rows in every table of a tenant, for two workspaces."""
    await auth.workspace("other")
    for workspace in ("acme", "other"):
        await auth.connect(workspace)
        await auth.type_in({"username": "u", "password": "p"}, workspace, auth_scheme="basic", connection_id="typed")
        await auth.begin(workspace)
        await auth.sql("INSERT INTO api_key_pepper (version, sealed) VALUES (1, '') ON CONFLICT DO NOTHING")
        await auth.sql(
            "INSERT INTO api_key (workspace_id, key_id, display_name, environment, roles, digest, pepper, creator) "
            "VALUES ($1, $1, '', 'production', '{member}', '', 1, 'somebody')",
            workspace,
        )
        row = "SELECT workspace_id, 'r', integration, auth_scheme, connection_id, 1, 'f', ''::bytea FROM connection"
        await auth.sql(
            "INSERT INTO revocation (workspace_id, revocation_id, integration, auth_scheme, connection_id, generation, "
            f"field, sealed) {row} WHERE workspace_id = $1 LIMIT 1",
            workspace,
        )
        await auth.sql(
            "INSERT INTO workspace_oauth_client (workspace_id, integration, client_id, revision) "
            "VALUES ($1, 'desk', 'c', 1)",
            workspace,
        )
        await auth.sql(
            "INSERT INTO workspace_configuration (workspace_id, integration, configuration, revision) "
            "VALUES ($1, 'desk', '{}', 1)",
            workspace,
        )
        await auth.sql(
            "INSERT INTO connect_link (workspace_id, link_id, key_hash, integration, auth_schemes, environment, "
            "connection_id, display_name, scopes, configuration, return_url, origin, actor, expire_time) "
            "VALUES ($1, $2, ''::bytea, 'desk', '{}', 'production', 'c', '', '{}', '{}', '', '', 'somebody', now())",
            workspace,
            f"link-{workspace}",
        )
        await auth.sql(
            "INSERT INTO sealing_key (workspace_id, service, version, sealed) VALUES ($1, 'proxy', 1, ''::bytea)",
            workspace,
        )


async def test_a_transaction_that_forgot_its_workspace_sees_no_rows(auth: Auth, vendor: sandbox.Vendor) -> None:
    await filled(auth)
    for table in TENANTS:
        assert await auth.sql(f"SELECT 1 FROM {table}"), table  # the control: there is something to see
        assert await auth.sql(f"SELECT 1 FROM {table}", role="service") == [], table


async def test_a_transaction_sees_its_own_workspace_only(auth: Auth, vendor: sandbox.Vendor) -> None:
    await filled(auth)
    database = Database(auth.database.url)
    try:
        for table in TENANTS:
            async with database.workspace("acme") as connection:
                seen = await connection.exec_driver_sql(f"SELECT DISTINCT workspace_id FROM {table}")
                assert seen.scalars().all() == ["acme"], table
    finally:
        await database.close()


async def test_every_table_with_a_workspace_is_protected_from_its_owner_too(auth: Auth) -> None:
    unprotected = await auth.sql(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' "
        "WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind = 'r' "
        "AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
    )
    assert unprotected == []
    found = await auth.sql(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' "
        "WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind = 'r'"
    )
    assert {row["relname"] for row in found} == set(TENANTS)


async def test_a_credential_moved_to_any_other_place_is_unreadable(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("other")
    places = [("acme", "one"), ("acme", "two"), ("other", "one"), ("other", "two")]
    for workspace, connection_id in places:
        await auth.type_in(
            {"api_key": f"{workspace}-{connection_id}"}, workspace, auth_scheme="key", connection_id=connection_id
        )
    await auth.type_in({"token": "t"}, auth_scheme="bearer", connection_id="bearer")
    await auth.type_in({"api_key": "older"}, auth_scheme="key", connection_id="one")
    records = await auth.sql("SELECT workspace_id, connection_id, sealed FROM credential")
    own = {(row["workspace_id"], row["connection_id"]): row["sealed"] for row in records}
    moved = 0
    for target, source in itertools.permutations([*places, ("acme", "bearer")], 2):
        await auth.sql(
            "UPDATE credential SET sealed = $1 WHERE workspace_id = $2 AND connection_id = $3", own[source], *target
        )
        assert await refused(auth.lease(target[1], target[0])) == RECONNECT, (target, source)
        await auth.sql(
            "UPDATE credential SET sealed = $1 WHERE workspace_id = $2 AND connection_id = $3", own[target], *target
        )
        moved += 1
    assert moved == 20
    # The control: in its own place each one opens.
    assert (await auth.lease("one")).api_key == "older"
    assert (await auth.lease("two", "other")).api_key == "other-two"


async def test_fields_and_generations_cannot_be_exchanged(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"username": "ada", "password": "lovelace"}, auth_scheme="basic", connection_id="typed")
    exchange = "UPDATE credential SET field = CASE field WHEN 'username' THEN 'x' ELSE 'username' END"
    await auth.sql(exchange)
    await auth.sql("UPDATE credential SET field = 'password' WHERE field = 'x'")
    assert await refused(auth.lease("typed")) == RECONNECT
    await auth.sql("UPDATE credential SET field = CASE field WHEN 'username' THEN 'x' ELSE 'username' END")
    await auth.sql("UPDATE credential SET field = 'password' WHERE field = 'x'")
    assert (await auth.lease("typed")).basic.password == "lovelace"
    await auth.sql("UPDATE credential SET generation = 5")
    await auth.sql("UPDATE connection SET generation = 5")
    assert await refused(auth.lease("typed")) == RECONNECT


@pytest.mark.parametrize("kind", ["basic", "bearer", "oauth2", "api_key"])
async def test_a_credential_is_not_given_as_another_kind(auth: Auth, vendor: sandbox.Vendor, kind: str) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    await auth.sql("UPDATE connection SET kind = $1", kind)
    if kind == "api_key":
        assert (await auth.lease("typed")).api_key == "k"
    else:
        assert await refused(auth.lease("typed")) == RECONNECT


async def test_what_cannot_be_opened_is_told_to_the_journal(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    await auth.sql("UPDATE credential SET sealed = ''")
    assert await refused(auth.lease("typed")) == RECONNECT
    told = await auth.sql("SELECT body::json->>'outcome' AS outcome FROM audit_entry ORDER BY time DESC LIMIT 1")
    assert told[0]["outcome"] == "UNREADABLE"


async def test_an_exchanged_workspace_key_opens_nothing(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("other")
    for workspace in ("acme", "other"):
        await auth.type_in({"api_key": "k"}, workspace, auth_scheme="key", connection_id="typed")
    await auth.sql(
        "UPDATE workspace_key SET wrapped = (SELECT wrapped FROM workspace_key WHERE workspace_id = 'other') "
        "WHERE workspace_id = 'acme'"
    )
    async with auth.replica() as fresh:
        # Connecting again would not help, so it is not asked for.
        assert await refused(auth.lease("typed", at=fresh)) == UNAVAILABLE
        assert (await auth.lease("typed", "other", at=fresh)).api_key == "k"


async def test_no_secret_stands_anywhere_in_the_database(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin()
    await auth.connect()
    await auth.type_in({"username": "canary-user", "password": "canary-pass"}, auth_scheme="basic", connection_id="bb")
    await auth.type_in({"api_key": "canary-key"}, auth_scheme="key", connection_id="kk")
    leased = await auth.lease()
    tables = await auth.sql("SELECT relname FROM pg_class WHERE relnamespace = 'auth'::regnamespace AND relkind = 'r'")
    dump = ""
    for table in tables:
        for row in await auth.sql(f'SELECT * FROM "{table["relname"]}"'):
            dump += "".join(
                bytes(value).decode("latin-1") if isinstance(value, (bytes, memoryview)) else str(value)
                for value in row.values()
            )
    refresh_tokens = list(vendor.grants._refresh)
    state = session.authorization_url.split("state=")[1].split("&")[0]
    secrets = [leased.access_token, *refresh_tokens, vendor.settings.client_secret, state]
    for secret in [*secrets, "canary-user", "canary-pass", "canary-key", "PRIVATE KEY"]:
        assert secret not in dump
    # The control: what is no secret is there.
    assert "desk-one" in dump
    assert vendor.settings.client_id in dump


async def test_every_workspace_has_a_key_of_its_own_and_the_mesh_has_one(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("other")
    for workspace in ("acme", "other"):
        await auth.type_in({}, workspace, auth_scheme="open")
    keys = await auth.sql("SELECT workspace_id, key_id, version FROM workspace_key ORDER BY workspace_id")
    assert [row["workspace_id"] for row in keys] == [SYSTEM, "acme", "other"]
    assert len({row["key_id"] for row in keys}) == 3


async def test_two_processes_that_seal_first_agree_on_one_key(database: Databases, kek_dir: Path) -> None:
    copy = database("auth")
    stores = [Database(copy.url) for _ in range(4)]
    try:
        vaults = [Vault(store, FileKeys.load(kek_dir), SystemClock()) for store in stores]
        drawers = [await vault.drawer("acme") for vault in vaults]
        record = drawers[0].seal("connections/x", "f", 1, Secret("s"))
        assert {drawer.open("connections/x", "f", 1, record).reveal() for drawer in drawers} == {"s"}
    finally:
        for store in stores:
            await store.close()


async def test_an_unwrapped_key_serves_for_five_minutes_without_its_provider(
    database: Databases, kek_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock, keys = Database(database("auth").url), Hours(), FileKeys.load(kek_dir)

    async def away(*_: object) -> Secret[bytes]:
        raise DependencyUnavailable("key-provider")

    try:
        vault = Vault(store, keys, clock)
        record = (await vault.drawer("acme")).seal("connections/x", "f", 1, Secret("s"))
        monkeypatch.setattr(keys, "unwrap", away)
        clock.ahead = CACHE_SECONDS - 1
        assert (await vault.drawer("acme")).open("connections/x", "f", 1, record).reveal() == "s"
        clock.ahead = CACHE_SECONDS + 1
        with pytest.raises(DependencyUnavailable):
            await vault.drawer("acme")
    finally:
        await store.close()


async def test_a_workspace_whose_key_is_gone_cannot_be_read_again(database: Databases, kek_dir: Path) -> None:
    copy = database("auth")
    store = Database(copy.url)
    try:
        record = (await Vault(store, FileKeys.load(kek_dir), SystemClock()).drawer("acme")).seal(
            "connections/x", "f", 1, Secret("s")
        )
        async with store.workspace("acme") as connection:
            await connection.exec_driver_sql("DELETE FROM workspace_key")
        drawer = await Vault(store, FileKeys.load(kek_dir), SystemClock()).drawer("acme")
        with pytest.raises(Unreadable):
            drawer.open("connections/x", "f", 1, record)
    finally:
        await store.close()


async def test_auth_does_not_start_with_another_key_than_the_one_it_sealed_with(auth: Auth, kek_dir: Path) -> None:
    (kek_dir / "1.key").chmod(0o600)
    (kek_dir / "1.key").write_bytes(bytes(32))
    (kek_dir / "1.key").chmod(0o400)
    with pytest.raises(DependencyUnavailable):
        async with auth.replica():
            pytest.fail("it started")


async def test_auth_does_not_start_while_its_key_provider_is_away(
    auth: Auth, vendor: sandbox.Vendor, kek_dir: Path, transit: Transit
) -> None:
    both = {"kek": f"{transit.url} file:{kek_dir}", "kek_allowed_networks": ("127.0.0.0/8",)}
    transit.down = True
    with pytest.raises(DependencyUnavailable):
        async with auth.replica(**both):
            pytest.fail("it started")
    # The control.
    transit.down = False
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    async with auth.replica(**both) as served:
        assert (await auth.lease("typed", at=served)).api_key == "k"


@pytest.mark.parametrize("break_it", ["missing", "open", "short"])
def test_settings_with_an_unsafe_key_directory_are_refused(
    kek_dir: Path,
    break_it: str,
    identities: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    assert isinstance(identities, Identities)
    key = kek_dir / "1.key"
    key.chmod(0o600)
    if break_it == "missing":
        key.unlink()
    elif break_it == "open":
        key.chmod(0o644)
    else:
        key.write_bytes(b"short")
    environment = {
        "LISTEN_ADDRESS": "127.0.0.1:0",
        "DATABASE_URL": "postgresql+asyncpg://a:b@127.0.0.1:1/c",
        "IDENTITY_DIR": str(identities.directory("auth")),
        "PUBLIC_URL": "https://cordboard.test",
        "CATALOG_ADDRESS": "127.0.0.1:1",
        "KEK": f"file:{kek_dir}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"CORDBOARD_{name}", value)
    with pytest.raises(SystemExit) as ended:
        load(AuthSettings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("CORDBOARD_KEK: ")
