"""Experiments: what is asked, which workspace got which variant, and what was measured of it."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.execute(
        """
        CREATE TABLE experiment (
            key text COLLATE "C" PRIMARY KEY,
            flag text COLLATE "C" NOT NULL REFERENCES flag (key),
            plan json NOT NULL,
            population json NOT NULL,
            flag_revision bigint NOT NULL,
            creator text NOT NULL,
            create_time timestamptz NOT NULL,
            stop_time timestamptz,
            stop_reason text NOT NULL,
            exposures bigint NOT NULL DEFAULT 0)
        """
    )
    # Two experiments with one flag would each take the other's effect for its own.
    op.execute("CREATE UNIQUE INDEX experiment_running ON experiment (flag) WHERE stop_time IS NULL")
    op.execute(
        """
        CREATE TABLE experiment_exposure (
            experiment text COLLATE "C" NOT NULL REFERENCES experiment (key),
            workspace_id text COLLATE "C" NOT NULL,
            variant text NOT NULL,
            expose_time timestamptz NOT NULL,
            PRIMARY KEY (experiment, workspace_id, variant))
        """
    )
    op.execute(
        """
        CREATE TABLE experiment_measurement (
            experiment text COLLATE "C" NOT NULL REFERENCES experiment (key),
            workspace_id text COLLATE "C" NOT NULL,
            metric integer NOT NULL,
            count bigint NOT NULL,
            total double precision NOT NULL,
            PRIMARY KEY (experiment, workspace_id, metric))
        """
    )
    protect(op, "experiment_exposure", "experiment_measurement")
    # A report of calls is counted once; these belong to no workspace.
    op.execute(
        """
        CREATE TABLE experiment_reporter (
            reporter text COLLATE "C" PRIMARY KEY,
            sequence bigint NOT NULL,
            report_time timestamptz NOT NULL)
        """
    )
