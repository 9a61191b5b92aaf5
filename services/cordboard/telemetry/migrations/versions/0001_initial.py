"""Spans by day, their senders, and the two functions that make and drop days."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import create_audit_tables

revision = "0001"
down_revision = None

TABLES = (
    """
CREATE TABLE resource (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash uuid NOT NULL UNIQUE,
    service text NOT NULL,
    attributes jsonb NOT NULL,
    last_day int NOT NULL
)""",
    """
CREATE TABLE span (
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    parent_id bigint,
    start_ns bigint NOT NULL,
    duration_ns bigint NOT NULL,
    kind smallint NOT NULL,
    status smallint NOT NULL,
    resource_id int NOT NULL,
    service text NOT NULL,
    name text NOT NULL,
    attributes jsonb NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (trace_id, span_id, start_ns)
) PARTITION BY RANGE (start_ns)""",
    """
COMMENT ON TABLE span IS 'Spans by day of their start (UTC); times are nanoseconds, which timestamptz cannot hold'""",
    """
COMMENT ON COLUMN span.body IS 'The redacted OTLP span; attributes has the same as texts, for searching'""",
    """
CREATE INDEX span_by_time ON span (start_ns DESC, trace_id DESC)""",
    """
CREATE INDEX span_by_service ON span (service, start_ns DESC, trace_id DESC)""",
    """
CREATE INDEX span_by_error ON span (start_ns DESC, trace_id DESC) WHERE status = 2""",
    """
CREATE INDEX span_by_attribute ON span USING gin (attributes jsonb_path_ops)""",
)

# Only the owner of a partitioned table can change its partitions, and the service is not the owner of its tables.
# The lock keeps replicas from colliding.
KEEP_DAY = """
CREATE FUNCTION keep_day(day int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    name text := 'span_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');
    today int := current_date - date '1970-01-01';
BEGIN
    IF day NOT BETWEEN today - 3660 AND today + 7 THEN
        RAISE EXCEPTION 'day % is too far from today', day USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(format('{schema}.%I', name)) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.days'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF span FOR VALUES FROM (%s) TO (%s)',
            name, day * 86400000000000::bigint, (day + 1) * 86400000000000::bigint);
    END IF;
END $$;
"""
DROP_DAY = """
CREATE FUNCTION drop_day(day int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.days'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'span_' || to_char(date '1970-01-01' + day, 'YYYYMMDD'));
END $$;
"""


def upgrade() -> None:
    """Makes the tables and the functions."""
    for statement in TABLES:
        op.execute(statement)
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(KEEP_DAY.format(schema=schema))
    op.execute(DROP_DAY.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION keep_day(int), drop_day(int) FROM PUBLIC")
    create_audit_tables(op)
