"""Log lines by day, and the two functions that make and drop their days."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = (
    """
CREATE TABLE log_line (
    at_ns bigint NOT NULL,
    id uuid NOT NULL,
    service text NOT NULL,
    severity smallint NOT NULL,
    event text NOT NULL,
    logger text NOT NULL,
    trace_id uuid,
    span_id bigint,
    attributes jsonb NOT NULL,
    PRIMARY KEY (at_ns, id)
) PARTITION BY RANGE (at_ns)""",
    "COMMENT ON TABLE log_line IS 'Redacted log lines by day (UTC); at_ns is nanoseconds since 1970'",
    "COMMENT ON COLUMN log_line.id IS 'Made of all that the line says: a line that comes again is kept once'",
    "CREATE INDEX log_line_by_service ON log_line (service, at_ns DESC, id DESC)",
    "CREATE INDEX log_line_by_trace ON log_line (trace_id, at_ns DESC, id DESC) WHERE trace_id IS NOT NULL",
    "CREATE INDEX log_line_by_warning ON log_line (at_ns DESC, id DESC) WHERE severity >= 4",
)

# As for spans: only the owner of a partitioned table can change its partitions.
KEEP_DAY = """
CREATE FUNCTION keep_log_day(day int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    name text := 'log_line_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');
    today int := current_date - date '1970-01-01';
BEGIN
    IF day NOT BETWEEN today - 3660 AND today + 7 THEN
        RAISE EXCEPTION 'day % is too far from today', day USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(format('{schema}.%I', name)) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.log_days'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF log_line FOR VALUES FROM (%s) TO (%s)',
            name, day * 86400000000000::bigint, (day + 1) * 86400000000000::bigint);
    END IF;
END $$;
"""
DROP_DAY = """
CREATE FUNCTION drop_log_day(day int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.log_days'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'log_line_' || to_char(date '1970-01-01' + day, 'YYYYMMDD'));
END $$;
"""


def upgrade() -> None:
    """Makes the table and the functions."""
    for statement in TABLES:
        op.execute(statement)
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(KEEP_DAY.format(schema=schema))
    op.execute(DROP_DAY.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION keep_log_day(int), drop_log_day(int) FROM PUBLIC")
