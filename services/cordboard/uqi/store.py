"""Keeps forms in PostgreSQL, by definition version; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.uqi.drafts import Draft, Failure

if TYPE_CHECKING:
    from cordboard.core.database import Database

_ROWS_AT_ONCE: Final = 100

_metadata = sa.MetaData()
_set = sa.Table(
    "form_set",
    _metadata,
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.Text),
    sa.Column("generator", sa.Text),
    sa.Column("form_count", sa.Integer),
    sa.Column("failures", sa.JSON),
    sa.Column("update_time", sa.DateTime(timezone=True)),
)
_form = sa.Table(
    "form",
    _metadata,
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("form", sa.Text, primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("json_schema", sa.Text),
    sa.Column("appsmith", sa.Text),
    sa.Column("document", sa.LargeBinary),
    sa.Column("losses", sa.JSON),
    sa.Column("etag", sa.Text),
    sa.Column("revision", sa.Text),
    sa.Column("create_time", sa.DateTime(timezone=True)),
)
_active = sa.Table(
    "active_version",
    _metadata,
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("version", sa.Text),
    sa.Column("sequence", sa.BigInteger),
)
_SUMMARY: Final = (
    _form.c.integration,
    _form.c.version,
    _form.c.form,
    _form.c.title,
    _form.c.description,
    _form.c.losses,
    _form.c.etag,
    _form.c.create_time,
    _form.c.revision,
)
_SET: Final = (_set.c.content_hash, _set.c.generator, _set.c.form_count, _set.c.failures, _set.c.update_time)
_WHOLE: Final = (*_SUMMARY, _form.c.json_schema, _form.c.appsmith, _form.c.document)


@dataclass(frozen=True, slots=True)
class FormRecord:
    """A form of a definition version. In lists, its documents are empty."""

    integration: str
    version: str
    form: str
    title: str
    description: str
    losses: tuple[str, ...]
    etag: str
    create_time: datetime
    json_schema: str = ""
    appsmith: str = ""
    document: bytes = b""
    """The canonical document; empty for a form that was made before there were any."""
    revision: str = ""
    """The revision of that document."""

    @property
    def name(self) -> str:
        """Returns the resource name of the form."""
        return f"integrations/{self.integration}/forms/{self.form}"


@dataclass(frozen=True, slots=True)
class SetRecord:
    """What is known of all forms of a definition version."""

    content_hash: str
    generator: str
    form_count: int
    failures: tuple[Failure, ...]
    update_time: datetime


class FormStore:
    """Keeps forms."""

    def __init__(self, database: Database) -> None:
        """Takes the database of UQI."""
        self._database = database

    async def put(
        self,
        integration: str,
        version: str,
        made: Sequence[Draft | Failure],
        *,
        content_hash: str,
        generator: str,
        now: datetime,
    ) -> None:
        """Keeps these as all the forms of a version. A form that is the same as before keeps its time."""
        forms = [each for each in made if isinstance(each, Draft)]
        failures = [{"form": each.id, "problem": each.problem} for each in made if isinstance(each, Failure)]
        said = {"content_hash": content_hash, "generator": generator, "form_count": len(forms), "failures": failures}
        key = {"integration": integration, "version": version}
        async with self._database.shared() as connection:
            # This row first: it makes replicas that store the same set wait for each other.
            upsert = insert(_set).values(**key, **said, update_time=now)
            changed = {**said, "update_time": now}
            await connection.execute(upsert.on_conflict_do_update(index_elements=list(key), set_=changed))
            for rows in _batches([{**key, **_columns(form), "create_time": now} for form in forms]):
                rewrite = insert(_form).values(rows)
                excluded = {column: rewrite.excluded[column] for column in (*_COLUMNS, "create_time")}
                await connection.execute(
                    rewrite.on_conflict_do_update(
                        index_elements=[*key, "form"],
                        set_=excluded,
                        where=sa.or_(
                            _form.c.etag != rewrite.excluded.etag, _form.c.revision != rewrite.excluded.revision
                        ),
                    )
                )
            of_set = sa.and_(_form.c.integration == integration, _form.c.version == version)
            ids = sa.bindparam("ids", [form.id for form in forms], type_=sa.ARRAY(sa.Text))
            await connection.execute(sa.delete(_form).where(of_set, _form.c.form != sa.all_(ids)))

    async def form_set(self, integration: str, version: str) -> SetRecord | None:
        """Returns what is known of a version's forms, or None when they were never made."""
        query = sa.select(*_SET).where(_set.c.integration == integration, _set.c.version == version)
        async with self._database.shared() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _set_record(row)

    async def form_sets(self, integration: str, *, after: str, limit: int) -> dict[str, SetRecord]:
        """Returns what is known of up to `limit` versions above `after` as text, in the order of their versions."""
        version = _set.c.version.collate("C")
        query = sa.select(_set.c.version, *_SET).where(_set.c.integration == integration, version > after)
        async with self._database.shared() as connection:
            rows = (await connection.execute(query.order_by(version).limit(limit))).mappings()
            return {row["version"]: _set_record(row) for row in rows}

    async def form(self, integration: str, version: str, form: str) -> FormRecord | None:
        """Returns a form with its documents, or None."""
        query = sa.select(*_WHOLE).where(
            _form.c.integration == integration, _form.c.version == version, _form.c.form == form
        )
        async with self._database.shared() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _record(row)

    async def revision(self, integration: str, form: str, revision: str) -> FormRecord | None:
        """Returns a form of whatever version with its documents, as it was in a revision, or None."""
        query = (
            sa.select(*_WHOLE)
            .where(_form.c.integration == integration, _form.c.form == form, _form.c.revision == revision)
            .order_by(_form.c.version)
            .limit(1)
        )
        async with self._database.shared() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _record(row)

    async def actions(self, integration: str, version: str) -> list[FormRecord]:
        """Returns the forms of all actions of a version, with their canonical and their Appsmith documents alone."""
        query = sa.select(*_SUMMARY, _form.c.appsmith, _form.c.document).where(
            _form.c.integration == integration, _form.c.version == version, _form.c.form.startswith("action.")
        )
        async with self._database.shared() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def page(self, integration: str, version: str, *, after: str, limit: int) -> list[FormRecord]:
        """Returns up to `limit` forms with an id above `after`, in the order of their ids, without documents."""
        query = (
            sa.select(*_SUMMARY)
            .where(_form.c.integration == integration, _form.c.version == version, _form.c.form > after)
            .order_by(_form.c.form)
            .limit(limit)
        )
        async with self._database.shared() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def activate(self, integration: str, version: str, *, sequence: int) -> None:
        """Makes a version the active one of its integration, unless a later change said otherwise."""
        upsert = insert(_active).values(integration=integration, version=version, sequence=sequence)
        update = upsert.on_conflict_do_update(
            index_elements=["integration"],
            set_={"version": version, "sequence": sequence},
            where=_active.c.sequence <= upsert.excluded.sequence,
        )
        async with self._database.shared() as connection:
            await connection.execute(update)

    async def active_version(self, integration: str) -> str | None:
        """Returns the active version of an integration as far as it is known here, or None."""
        query = sa.select(_active.c.version).where(_active.c.integration == integration)
        async with self._database.shared() as connection:
            return (await connection.execute(query)).scalar_one_or_none()


_COLUMNS: Final = ("title", "description", "json_schema", "appsmith", "document", "losses", "etag", "revision")


def _set_record(row: sa.RowMapping) -> SetRecord:
    failures = tuple(Failure(each["form"], each["problem"]) for each in row["failures"])
    hashed, generator, count, time = (row[name] for name in ("content_hash", "generator", "form_count", "update_time"))
    return SetRecord(hashed, generator, count, failures, time)


def _columns(draft: Draft) -> dict[str, Any]:
    return {
        "form": draft.id,
        "title": draft.title,
        "description": draft.description,
        "json_schema": draft.json_schema,
        "appsmith": draft.appsmith,
        "document": draft.document,
        "losses": list(draft.losses),
        "etag": draft.etag,
        "revision": draft.revision,
    }


def _batches(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _record(row: sa.RowMapping) -> FormRecord:
    return FormRecord(**{**row, "losses": tuple(row["losses"])})
