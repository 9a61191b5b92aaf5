"""The canonical document of each form, beside what is projected from it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; forms that were made before have no document until they are made again."""
    op.add_column("form", sa.Column("document", sa.LargeBinary, nullable=False, server_default=""))
