"""Metrics: series, their figures by minute and by hour in partitions, and which exports were taken already."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

POINTS = """
CREATE TABLE {table} (
    at int NOT NULL,
    series_id int NOT NULL,
    count bigint NOT NULL,
    total float8 NOT NULL,
    low float8 NOT NULL,
    high float8 NOT NULL,
    buckets bigint[] NOT NULL,
    exemplars jsonb NOT NULL,
    PRIMARY KEY (at, series_id)
) PARTITION BY RANGE (at)"""

TABLES = (
    """
CREATE TABLE series (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash uuid NOT NULL UNIQUE,
    service text NOT NULL,
    name text NOT NULL,
    unit text NOT NULL,
    kind smallint NOT NULL,
    bounds float8[] NOT NULL,
    attributes jsonb NOT NULL,
    last_day int NOT NULL
)""",
    "CREATE INDEX series_by_name ON series (name, service)",
    POINTS.format(table="point_minute"),
    "COMMENT ON COLUMN point_minute.at IS 'Minutes since 1970 (UTC)'",
    POINTS.format(table="point_hour"),
    "COMMENT ON COLUMN point_hour.at IS 'Hours since 1970 (UTC)'",
    """
CREATE TABLE taken_export (
    hash uuid PRIMARY KEY,
    take_time timestamptz NOT NULL DEFAULT now()
)""",
    "CREATE INDEX taken_export_by_time ON taken_export (take_time)",
)

# As for spans: only the owner of a partitioned table can change its partitions. A partition of minutes is a day, one of
# hours is thirty days, both counted from 1970.
KEEP_POINTS = """
CREATE FUNCTION keep_points(day int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    minutes text := 'point_minute_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');
    block int := day / 30;
    hours text := 'point_hour_' || to_char(date '1970-01-01' + block * 30, 'YYYYMMDD');
    today int := current_date - date '1970-01-01';
BEGIN
    IF day NOT BETWEEN today - 3660 AND today + 7 THEN
        RAISE EXCEPTION 'day % is too far from today', day USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(format('{schema}.%I', minutes)) IS NULL OR to_regclass(format('{schema}.%I', hours)) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.points'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF point_minute FOR VALUES FROM (%s) TO (%s)',
            minutes, day * 1440, (day + 1) * 1440);
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF point_hour FOR VALUES FROM (%s) TO (%s)',
            hours, block * 720, (block + 1) * 720);
    END IF;
END $$;
"""
DROP_POINTS = """
CREATE FUNCTION drop_points(minutes_before int, hours_before int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    doomed record;
    dropped int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('cordboard.telemetry.points'));
    FOR doomed IN
        SELECT child.relname AS name FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE (inhparent = '{schema}.point_minute'::regclass
               AND to_date(right(child.relname, 8), 'YYYYMMDD') < date '1970-01-01' + minutes_before)
           OR (inhparent = '{schema}.point_hour'::regclass
               AND to_date(right(child.relname, 8), 'YYYYMMDD') + 30 <= date '1970-01-01' + hours_before)
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', doomed.name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
"""
# Counts of two arrays of buckets, and of all arrays of a group.
ADD_BUCKETS = """
CREATE FUNCTION add_buckets(one bigint[], other bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cardinality(one) = 0 THEN other WHEN cardinality(other) = 0 THEN one
        ELSE (SELECT array_agg(a + b ORDER BY i) FROM unnest(one, other) WITH ORDINALITY AS pair(a, b, i)) END
$$"""
SUM_BUCKETS = """
CREATE AGGREGATE sum_buckets(bigint[]) (SFUNC = add_buckets, STYPE = bigint[], INITCOND = '{}')"""


def upgrade() -> None:
    """Makes the tables and the functions."""
    for statement in TABLES:
        op.execute(statement)
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(KEEP_POINTS.format(schema=schema))
    op.execute(DROP_POINTS.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION keep_points(int), drop_points(int, int) FROM PUBLIC")
    op.execute(ADD_BUCKETS)
    op.execute(SUM_BUCKETS)
