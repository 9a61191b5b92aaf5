"""Auth's tables, as the migrations made them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text
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
    Column("next_time", _Moment),
    Column("create_time", _Moment),
)
