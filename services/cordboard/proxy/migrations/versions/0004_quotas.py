"""What of vendors' rate limits is used, and how breakers stand, for all replicas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# A window is 40 slots, and 41 are counted: the oldest one may lie in it in part. So nothing is forgotten too early.
SLIDE = """
    CREATE FUNCTION quota_slide(in_used integer[], in_slot bigint, in_now bigint) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE AS $$
    DECLARE
        gone bigint := in_slot + 1;
    BEGIN
        IF in_now - in_slot > 40 THEN
            RETURN array_fill(0, ARRAY[41]);
        END IF;
        WHILE gone <= in_now LOOP
            in_used[gone % 41 + 1] := 0;
            gone := gone + 1;
        END LOOP;
        RETURN in_used;
    END $$
"""

# `in_shared`: several workspaces draw on the bucket. One that has had its equal share leaves a fifth of the bucket to
# those that have not, and there are always at least two: nobody gets all of it.
# `in_yielding`: work that nobody waits for leaves that fifth alone too.
TAKE = """
    CREATE FUNCTION quota_take(
        in_bucket text, in_workspace text, in_want integer, in_least integer, in_calls integer,
        in_window double precision, in_shared boolean, in_yielding boolean,
        OUT granted integer, OUT wait double precision, OUT free integer, OUT reset double precision)
    LANGUAGE plpgsql AS $$
    DECLARE
        seconds double precision;
        current_slot bigint;
        whole quota_use%ROWTYPE;
        own quota_use%ROWTYPE;
        active integer := 1;
        share integer;
        reserve integer := CASE WHEN in_calls < 2 THEN 0 ELSE (in_calls::bigint + 4) / 5 END;
        own_used integer := 0;
        room integer;
        oldest bigint;
    BEGIN
        INSERT INTO quota_use (bucket, workspace_id, slot, used, end_time)
        VALUES (in_bucket, '', 0, array_fill(0, ARRAY[41]), now()) ON CONFLICT DO NOTHING;
        SELECT * INTO whole FROM quota_use WHERE bucket = in_bucket AND workspace_id = '' FOR UPDATE;
        -- After the lock: another one may have had it for a while.
        seconds := extract(epoch FROM clock_timestamp());
        current_slot := greatest(whole.slot, floor(seconds * 40 / in_window));
        whole.used := quota_slide(whole.used, whole.slot, current_slot);
        free := in_calls - (SELECT sum(one) FROM unnest(whole.used) one);
        IF in_yielding THEN
            in_least := least(in_least, in_calls - reserve);
        END IF;
        granted := 0;
        wait := 0;
        reset := 0;
        IF whole.held_until > clock_timestamp() THEN
            wait := extract(epoch FROM whole.held_until) - seconds;
            reset := wait;
            free := 0;
            RETURN;
        END IF;
        own.used := array_fill(0, ARRAY[41]);
        IF in_shared THEN
            INSERT INTO quota_use (bucket, workspace_id, slot, used, end_time)
            VALUES (in_bucket, in_workspace, 0, own.used, now()) ON CONFLICT DO NOTHING;
            SELECT * INTO own FROM quota_use WHERE bucket = in_bucket AND workspace_id = in_workspace FOR UPDATE;
            own.used := quota_slide(own.used, own.slot, current_slot);
            own_used := (SELECT sum(one) FROM unnest(own.used) one);
            SELECT count(*) INTO active FROM quota_use
            WHERE bucket = in_bucket AND workspace_id NOT IN ('', in_workspace) AND slot >= current_slot - 40;
            active := active + 1;
        END IF;
        share := greatest(in_least, CASE WHEN in_shared THEN in_calls / greatest(active, 2) ELSE in_calls END);
        -- Slot by slot, as the oldest ones leave the window: what is there now, and what will be there when.
        FOR gone IN 0 .. 41 LOOP
            IF gone > 0 THEN
                oldest := current_slot - 41 + gone;
                CONTINUE WHEN oldest < 0;
                free := free + whole.used[oldest % 41 + 1];
                own_used := own_used - own.used[oldest % 41 + 1];
                wait := greatest(0.001, (oldest + 41) * in_window / 40 - seconds);
            END IF;
            room := free - reserve;
            IF NOT in_yielding THEN
                room := greatest(room, least(share - own_used, free));
            END IF;
            EXIT WHEN room >= in_least;
        END LOOP;
        IF wait > 0 THEN
            reset := wait;
            free := in_calls - (SELECT sum(one) FROM unnest(whole.used) one);
        ELSE
            granted := least(in_want, room);
            free := free - granted;
            whole.used[current_slot % 41 + 1] := whole.used[current_slot % 41 + 1] + granted;
            own.used[current_slot % 41 + 1] := own.used[current_slot % 41 + 1] + granted;
            FOR gone IN 1 .. 41 LOOP
                oldest := current_slot - 41 + gone;
                reset := (oldest + 41) * in_window / 40 - seconds;
                EXIT WHEN oldest >= 0 AND whole.used[oldest % 41 + 1] > 0;
            END LOOP;
        END IF;
        UPDATE quota_use SET slot = current_slot, used = whole.used,
            end_time = clock_timestamp() + in_window * interval '1 second'
        WHERE bucket = in_bucket AND workspace_id = '';
        IF in_shared THEN
            UPDATE quota_use SET slot = current_slot, used = own.used,
                end_time = clock_timestamp() + in_window * interval '1 second'
            WHERE bucket = in_bucket AND workspace_id = in_workspace;
        END IF;
    END $$
"""

# What a vendor says of its own count: never more calls than it says are left, and none before the time that it names.
CORRECT = """
    CREATE FUNCTION quota_correct(
        in_bucket text, in_calls integer, in_window double precision, in_left integer, in_hold double precision)
    RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        current_slot bigint := floor(extract(epoch FROM clock_timestamp()) * 40 / in_window);
        whole quota_use%ROWTYPE;
        missing integer;
    BEGIN
        INSERT INTO quota_use (bucket, workspace_id, slot, used, end_time)
        VALUES (in_bucket, '', 0, array_fill(0, ARRAY[41]), now()) ON CONFLICT DO NOTHING;
        SELECT * INTO whole FROM quota_use WHERE bucket = in_bucket AND workspace_id = '' FOR UPDATE;
        current_slot := greatest(whole.slot, current_slot);
        whole.used := quota_slide(whole.used, whole.slot, current_slot);
        missing := in_calls - in_left - (SELECT sum(one) FROM unnest(whole.used) one);
        IF missing > 0 THEN
            whole.used[current_slot % 41 + 1] := whole.used[current_slot % 41 + 1] + missing;
        END IF;
        UPDATE quota_use SET slot = current_slot, used = whole.used,
            end_time = clock_timestamp() + greatest(in_window, in_hold) * interval '1 second',
            held_until = CASE WHEN in_hold > 0 THEN clock_timestamp() + in_hold * interval '1 second'
                ELSE whole.held_until END
        WHERE bucket = in_bucket AND workspace_id = '';
    END $$
"""


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "quota_use",
        # Which limit, of whom.
        sa.Column("bucket", sa.Text(collation="C"), primary_key=True),
        # Empty: the whole bucket.
        sa.Column("workspace_id", sa.Text, primary_key=True),
        # The newest slot, in fortieths of the window since 1970, and the calls of the newest 41, by slot modulo 41.
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("used", sa.ARRAY(sa.Integer), nullable=False),
        # The vendor takes nothing before.
        sa.Column("held_until", sa.DateTime(timezone=True)),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        # Counts of moments: not worth a write-ahead log. After a crash windows begin anew.
        prefixes=["UNLOGGED"],
    )
    op.create_index("quota_use_age", "quota_use", ["end_time"])
    op.execute("CREATE SEQUENCE breaker_revision")
    op.create_table(
        "breaker",
        # Empty: everybody's.
        sa.Column("workspace_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("integration", "host", "cause")),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("action", "connection")),
        sa.Column("state", sa.Text, nullable=False),
        # When it may be tried; times of the database alone.
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_seconds", sa.Float, nullable=False),
        sa.Column("override", sa.Text, nullable=False),
        # The credential that was refused.
        sa.Column("generation", sa.BigInteger, nullable=False),
        # What was seen when it opened.
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("calls", "failures")),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("nextval('breaker_revision')")),
        # While one process tries: until when it is taken to live.
        sa.Column("trying_until", sa.DateTime(timezone=True)),
        sa.Column("change_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.CheckConstraint("state IN ('closed', 'open', 'half_open')", name="breaker_state_is_known"),
        sa.CheckConstraint("override IN ('auto', 'open', 'closed')", name="override_is_known"),
    )
    protect(op, "quota_use", "breaker")
    for function in (SLIDE, TAKE, CORRECT):
        op.execute(function)
