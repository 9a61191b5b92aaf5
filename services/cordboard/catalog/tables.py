"""The Catalog's tables, as its stores read and write them; the migrations make them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
head = sa.Table("head", metadata, sa.Column("sequence", sa.BigInteger))
integration = sa.Table(
    "integration",
    metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("category", sa.Integer),
    sa.Column("owner", sa.Text),
    sa.Column("criticality", sa.Integer),
    sa.Column("active_version", sa.Text),
    sa.Column("action_count", sa.Integer),
    sa.Column("auth_schemes", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("tags", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("update_time", sa.DateTime(timezone=True)),
    sa.Column("state", sa.Integer),
    sa.Column("workspace_id", sa.Text),
)
version = sa.Table(
    "definition_version",
    metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.Text),
    sa.Column("content", sa.LargeBinary),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("creator", sa.Text),
    sa.Column("workspace_id", sa.Text),
    sa.Column("listing", sa.LargeBinary),
    sa.Column("facts", sa.JSON(none_as_null=True)),
)
state = sa.Table(
    "version_state",
    metadata,
    sa.Column("workspace_id", sa.Text),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("state", sa.Integer),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("revision", sa.BigInteger),
    sa.Column("activation", sa.BigInteger),
    sa.Column("sunset_time", sa.DateTime(timezone=True)),
    sa.Column("successor", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("update_time", sa.DateTime(timezone=True)),
    sa.Column("updater", sa.Text),
)
pin = sa.Table(
    "pin",
    metadata,
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("revision", sa.BigInteger),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("update_time", sa.DateTime(timezone=True)),
    sa.Column("creator", sa.Text),
    sa.Column("from_hub", sa.Boolean),
    sa.Column("hub_version", sa.Text),
)
review = sa.Table(
    "review",
    metadata,
    sa.Column("workspace_id", sa.Text),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("review_time", sa.DateTime(timezone=True)),
    sa.Column("due_time", sa.DateTime(timezone=True)),
    sa.Column("reviewer", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("sequence", sa.BigInteger),
)
hub = sa.Table("sync_hub", metadata, sa.Column("hub_id", sa.Text), sa.Column("epoch", sa.BigInteger))
key = sa.Table(
    "sync_key",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text),
    sa.Column("public_key", sa.LargeBinary),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("signer", sa.Text),
    sa.Column("signature", sa.LargeBinary),
    sa.Column("create_time", sa.DateTime(timezone=True)),
)
edge = sa.Table(
    "edge",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("workspaces", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("public_key", sa.LargeBinary),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("revoke_time", sa.DateTime(timezone=True)),
    sa.Column("capabilities", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("release", sa.Text),
    sa.Column("epoch", sa.BigInteger),
    sa.Column("acked_sequence", sa.BigInteger),
    sa.Column("acked_hash", sa.LargeBinary),
    sa.Column("sent_sequence", sa.BigInteger),
    sa.Column("sent_hash", sa.LargeBinary),
    sa.Column("bundle_sequence", sa.BigInteger),
    sa.Column("bundle_hash", sa.LargeBinary),
    sa.Column("issue_time", sa.DateTime(timezone=True)),
    sa.Column("connect_time", sa.DateTime(timezone=True)),
    sa.Column("ack_time", sa.DateTime(timezone=True)),
    sa.Column("fresh_time", sa.DateTime(timezone=True)),
    sa.Column("last_error", sa.Text),
)
customer = sa.Table(
    "workspace_customer",
    metadata,
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("customer", sa.Text),
)
flags = sa.Table(
    "sync_flags",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True),
    sa.Column("revision", sa.BigInteger),
    sa.Column("records", sa.LargeBinary),
    sa.Column("sequence", sa.BigInteger),
)
replica = sa.Table(
    "sync_replica",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True),
    sa.Column("hub_id", sa.Text),
    sa.Column("edge_id", sa.Text),
    sa.Column("epoch", sa.BigInteger),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("hash", sa.LargeBinary),
    sa.Column("highest", sa.BigInteger),
    sa.Column("target", sa.BigInteger),
    sa.Column("issue_time", sa.DateTime(timezone=True)),
    sa.Column("fresh_time", sa.DateTime(timezone=True)),
    sa.Column("capabilities", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("last_error", sa.Text),
)
trust = sa.Table(
    "sync_trust",
    metadata,
    sa.Column("hub_id", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("public_key", sa.LargeBinary),
)
