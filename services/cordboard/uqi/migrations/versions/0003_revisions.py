"""The revision of each form's document, so that values filled into an older one can be read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column and has every set of forms made again, which fills it in."""
    op.add_column("form", sa.Column("revision", sa.Text, nullable=False, server_default=""))
    op.create_index("form_by_revision", "form", ["integration", "form", "revision"])
    op.execute("UPDATE form_set SET generator = ''")
