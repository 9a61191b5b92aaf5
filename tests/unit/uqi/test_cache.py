"""The forms in memory: bounded, and never older than what was stored last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from cordboard.catalog.v1 import definition_pb2
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.form_cache import FormCache, Key
from cordboard.uqi.recent import Recent
from cordboard.uqi.store import FormRecord
from cordboard.uqi.upkeep import Release
from tests.unit.uqi.samples import an_input, stored, the_draft

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def a_record(form: str, etag: str = "1") -> tuple[Key, FormRecord]:
    schema = the_draft(an_input(a={"type": "string"})).json_schema
    record = FormRecord("acme", "1.0.0", form, "Title", "", (), etag, NOW, schema, "x" * 10_000)
    return ("acme", "1.0.0", form), record


def test_the_forms_asked_for_longest_ago_go_first() -> None:
    cache = FormCache(35_000)
    records = [a_record(name) for name in ("a", "b", "c", "d")]
    for key, record in records[:3]:
        cache.keep(key, record)
    assert cache.record(records[0][0]) is records[0][1]
    cache.keep(*records[3])
    assert [cache.record(key) is not None for key, _ in records] == [True, False, True, True]


def test_a_form_kept_twice_takes_its_room_once() -> None:
    cache = FormCache(35_000)
    records = [a_record(name) for name in ("a", "b", "c")]
    for key, record in records * 5:
        cache.keep(key, record)
    assert all(cache.record(key) for key, _ in records)


def test_forms_that_were_stored_again_are_read_again() -> None:
    cache = FormCache(1_000_000)
    key, record = a_record("a")
    cache.keep(key, record)
    cache.keep(("acme", "2.0.0", "a"), record)
    cache.take(Release("acme", "1.0.0", "hash", True, definition_pb2.Definition()))
    assert cache.record(key) is None
    assert cache.record(("acme", "2.0.0", "a")) is record
    assert cache.active == {"acme": "1.0.0"}


def test_a_version_that_is_not_active_leaves_the_active_one() -> None:
    cache = FormCache(1_000_000)
    for version, active in (("1.0.0", True), ("2.0.0", False)):
        cache.take(Release("acme", version, "hash", active, definition_pb2.Definition()))
    assert cache.active == {"acme": "1.0.0"}


def test_what_binds_is_compiled_once_for_each_content() -> None:
    cache = FormCache(1_000_000)
    key, record = a_record("a")
    first = cache.binder(key, record)
    assert cache.binder(key, record) is first
    assert cache.binder(key, a_record("a", etag="2")[1]) is not first


def test_a_translated_form_and_a_document_are_made_once() -> None:
    cache = FormCache(10_000_000)
    action = definition_pb2.Action(id="send", title="Send")
    action.translations.add(language="de", title="Senden")
    definition = definition_pb2.Definition(slug="acme", language="en", actions=[action])
    (draft,) = Draftsman(definition).drafts(["action.send"])
    assert isinstance(draft, Draft)
    record = replace(stored("acme", [draft])[0], json_schema=draft.json_schema, document=draft.document)
    german = cache.translated(record, "de")
    assert (german.title, german.etag) == ("Senden", f"{record.etag}-de")
    assert cache.translated(record, "de") is german
    assert cache.translated(record, "") is record
    whole, told = cache.document(record, ()), cache.document(record, ("de-CH",))
    assert (whole.message.title, told.message.title) == ("Send", "Senden")
    assert whole.tag != told.tag
    assert cache.document(record, ("de",)) is told
    assert cache.document(record, ()) is whole
    # The same form of another version says that it is of that one.
    later = replace(record, version="2.0.0")
    assert cache.document(later, ()).message.version == "2.0.0"
    assert cache.translated(later, "de").version == "2.0.0"


def test_what_was_asked_for_last_stays_up_to_a_weight() -> None:
    kept: Recent[str, str] = Recent(10, len)
    for key, value in (("a", "xxxx"), ("b", "xxxx")):
        assert kept.put(key, value) == value
    assert kept.get("a") == "xxxx"
    kept.put("c", "xxxxx")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("xxxx", None, "xxxxx")
    # What is put again weighs once, and what is heavier than all room is not kept.
    kept.put("c", "xxxxxx")
    assert kept.get("a") == "xxxx"
    assert kept.put("d", "x" * 11) == "x" * 11
    assert kept.get("d") is None
    kept.put("e", "xxxxx")
    kept.drop_where(lambda key: key == "e")
    assert kept.get("e") is None
