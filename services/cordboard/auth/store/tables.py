"""Auth's tables, as the migrations made them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

_metadata: Final = MetaData()
_Moment: Final = DateTime(timezone=True)

workspace: Final = Table(
    "workspace",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("display_name", Text),
    Column("customer", Text),
    Column("tier", Text),
    Column("region", Text),
    Column("revision", BigInteger),
    Column("create_time", _Moment),
    Column("update_time", _Moment),
)

workspace_key: Final = Table(
    "workspace_key",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("key_id", Text),
    Column("wrapped", LargeBinary),
    Column("create_time", _Moment),
    Column("seal_time", _Moment),
)

key_rotation: Final = Table(
    "key_rotation",
    _metadata,
    Column("rotation_id", Text, primary_key=True),
    Column("level", Text),
    Column("workspace", Text),
    Column("state", Text),
    Column("place", Integer),
    Column("cursor", ARRAY(Text)),
    Column("work_time", _Moment),
    Column("done", BigInteger),
    Column("total", BigInteger),
    Column("problem", Text),
    Column("actor", Text),
    Column("create_time", _Moment),
    Column("update_time", _Moment),
)

shredded_workspace: Final = Table(
    "shredded_workspace",
    _metadata,
    Column("workspace", Text, primary_key=True),
    Column("reason", Text),
    Column("actor", Text),
    Column("create_time", _Moment),
)

cut_off: Final = Table(
    "cut_off",
    _metadata,
    Column("cut_off_id", Text, primary_key=True),
    Column("workspace", Text),
    Column("integration", Text),
    Column("reason", Text),
    Column("revoke", Boolean),
    Column("actor", Text),
    Column("create_time", _Moment),
    Column("restore_time", _Moment),
)

read_alert: Final = Table(
    "read_alert",
    _metadata,
    Column("alert_id", Text, primary_key=True),
    Column("workspace", Text),
    Column("caller", Text),
    Column("connections", Integer),
    Column("seconds", Double),
    Column("create_time", _Moment),
)

signing_key: Final = Table(
    "signing_key",
    _metadata,
    Column("kid", Text, primary_key=True),
    Column("jwk", JSONB),
    Column("sealed", LargeBinary),
    Column("create_time", _Moment),
    Column("sign_time", _Moment),
    Column("expire_time", _Moment),
)

oauth_client: Final = Table(
    "oauth_client",
    _metadata,
    Column("integration", Text, primary_key=True),
    Column("client_id", Text),
    Column("revision", BigInteger),
    Column("sealed", LargeBinary),
    Column("update_time", _Moment),
)

connect_session: Final = Table(
    "connect_session",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("integration", Text),
    Column("auth_scheme", Text),
    Column("kind", Text),
    Column("environment", Text),
    Column("connection_id", Text),
    Column("display_name", Text),
    Column("scopes", ARRAY(Text)),
    Column("configuration", JSONB),
    Column("state", Text),
    Column("error", Text),
    Column("state_hash", LargeBinary),
    Column("verifier", LargeBinary),
    Column("actor", Text),
    Column("create_time", _Moment),
    Column("expire_time", _Moment),
    Column("client_owner", Text),
    Column("inputs", LargeBinary),
    Column("browser_hash", LargeBinary),
    Column("user_code", Text),
    Column("verification_uri", Text),
    Column("verification_uri_complete", Text),
    Column("poll_seconds", Integer),
    Column("poll_time", _Moment),
    Column("return_url", Text),
    Column("origin", Text),
    Column("link_id", Text),
)

connect_link: Final = Table(
    "connect_link",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("link_id", Text, primary_key=True),
    Column("key_hash", LargeBinary),
    Column("integration", Text),
    Column("auth_schemes", ARRAY(Text)),
    Column("environment", Text),
    Column("connection_id", Text),
    Column("display_name", Text),
    Column("scopes", ARRAY(Text)),
    Column("configuration", JSONB),
    Column("inputs", LargeBinary),
    Column("return_url", Text),
    Column("origin", Text),
    Column("session_id", Text),
    Column("actor", Text),
    Column("create_time", _Moment),
    Column("expire_time", _Moment),
)

workspace_oauth_client: Final = Table(
    "workspace_oauth_client",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("integration", Text, primary_key=True),
    Column("client_id", Text),
    Column("revision", BigInteger),
    Column("sealed", LargeBinary),
    Column("update_time", _Moment),
)

workspace_configuration: Final = Table(
    "workspace_configuration",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("integration", Text, primary_key=True),
    Column("configuration", JSONB),
    Column("revision", BigInteger),
    Column("sealed", LargeBinary),
    Column("update_time", _Moment),
)

connection: Final = Table(
    "connection",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("integration", Text),
    Column("auth_scheme", Text),
    Column("kind", Text),
    Column("environment", Text),
    Column("display_name", Text),
    Column("scopes", ARRAY(Text)),
    Column("configuration", JSONB),
    Column("state", Text),
    Column("problem", Text),
    Column("generation", BigInteger),
    Column("refreshable", Boolean),
    Column("expire_time", _Moment),
    Column("refresh_time", _Moment),
    Column("lease_owner", Text),
    Column("lease_until", _Moment),
    Column("failures", Integer),
    Column("retry_time", _Moment),
    Column("forced_until", _Moment),
    Column("parts", JSONB),
    Column("client_owner", Text),
    Column("verification", Text),
    Column("idle_time", _Moment),
    Column("ambiguous", Boolean),
    Column("create_time", _Moment),
    Column("update_time", _Moment),
)

credential: Final = Table(
    "credential",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("generation", BigInteger, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("sealed", LargeBinary),
)

connection_head: Final = Table("connection_head", _metadata, Column("sequence", BigInteger))

connection_change: Final = Table(
    "connection_change",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("sequence", BigInteger),
    Column("generation", BigInteger),
    Column("highest_generation", BigInteger),
)

revocation: Final = Table(
    "revocation",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("revocation_id", Text, primary_key=True),
    Column("integration", Text),
    Column("auth_scheme", Text),
    Column("connection_id", Text),
    Column("generation", BigInteger),
    Column("field", Text),
    Column("sealed", LargeBinary),
    Column("attempts", Integer),
    Column("client_owner", Text),
    Column("configuration", JSONB),
    Column("client_id", LargeBinary),
    Column("client_secret", LargeBinary),
    Column("next_time", _Moment),
    Column("create_time", _Moment),
)

revocation_head: Final = Table(
    "revocation_head", _metadata, Column("one", Boolean, primary_key=True), Column("sequence", BigInteger)
)

token_revocation: Final = Table(
    "token_revocation",
    _metadata,
    Column("kind", Text, primary_key=True),
    Column("workspace", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("sequence", BigInteger),
    Column("generation", BigInteger),
    Column("reason", Text),
    Column("actor", Text),
    Column("create_time", _Moment),
    Column("expire_time", _Moment),
)

api_key_pepper: Final = Table(
    "api_key_pepper",
    _metadata,
    Column("version", Integer, primary_key=True),
    Column("sealed", LargeBinary),
    Column("create_time", _Moment),
)

api_key: Final = Table(
    "api_key",
    _metadata,
    Column("workspace_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("display_name", Text),
    Column("environment", Text),
    Column("roles", ARRAY(Text)),
    Column("digest", LargeBinary),
    Column("pepper", Integer),
    Column("creator", Text),
    Column("create_time", _Moment),
    Column("expire_time", _Moment),
    Column("last_use_time", _Moment),
    Column("revoke_time", _Moment),
)

login_attempt: Final = Table(
    "login_attempt",
    _metadata,
    Column("state_hash", Text, primary_key=True),
    Column("nonce", Text),
    Column("sealed", LargeBinary),
    Column("redirect_uri", Text),
    Column("challenge", Text),
    Column("client_state", Text),
    Column("return_path", Text),
    Column("binding_hash", Text),
    Column("expire_time", _Moment),
)

login_code: Final = Table(
    "login_code",
    _metadata,
    Column("code_hash", Text, primary_key=True),
    Column("challenge", Text),
    Column("subject", Text),
    Column("roles", ARRAY(Text)),
    Column("expire_time", _Moment),
)

operator_session: Final = Table(
    "operator_session",
    _metadata,
    Column("session_hash", Text, primary_key=True),
    Column("subject", Text),
    Column("roles", ARRAY(Text)),
    Column("generation", BigInteger),
    Column("expire_time", _Moment),
)
