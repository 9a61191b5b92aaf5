"""The key that tickets for streams of changes are signed with."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table with its one row."""
    # Every replica of Flags has to know what another one has signed. The key opens streams that say that something has
    # changed, and nothing else; gen_random_uuid() draws 122 bits from a cryptographic source.
    op.execute(
        """
        CREATE TABLE stream_key (
            id boolean PRIMARY KEY DEFAULT true CHECK (id),
            key bytea NOT NULL CHECK (octet_length(key) = 32))
        """
    )
    op.execute(
        """
        INSERT INTO stream_key (key)
        VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
        """
    )
