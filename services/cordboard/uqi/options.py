"""The choices that only the vendor knows: an action of the definition lists them, with the caller's own connection.

A form stays usable when they cannot be had: the answer then has no choices, and says why.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from cordboard.core.errors import InvalidFields
from cordboard.core.json_pointers import unescape
from cordboard.uqi.binding import value_of
from cordboard.uqi.fields import Scalar
from cordboard.uqi.hints import walk
from cordboard.uqi.languages import every
from cordboard.uqi.texts import clean, json_text, plain_label
from cordboard.uqi.words import words_in

if TYPE_CHECKING:
    from cordboard.core.times import Clock
    from cordboard.uqi.fields import Field, FormTree, OptionSource
    from cordboard.uqi.forms import Forms
    from cordboard.uqi.languages import Ranges

Credentials: TypeAlias = tuple[tuple[str, str], ...]
"""What the caller proved itself with, as it came: the Proxy looks at it again."""

FRESH_SECONDS: Final = 60.0
MOST_OPTIONS: Final = 1_000
MOST_LISTS: Final = 500
_LABEL: Final = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One run of an action that lists choices, and for whom: nobody gets what another's token was answered with."""

    asker: str
    connection: str
    action: str
    input_json: str


@dataclass(frozen=True, slots=True)
class Items:
    """What an action listed, as far as it was asked for; or why it listed nothing."""

    items: tuple[Any, ...] = ()
    more: bool = False
    problem: str = ""
    runs_nothing: bool = False
    """There is no Proxy that could run it."""


class Actions(Protocol):
    """Runs actions."""

    async def items(self, call: Call, credentials: Credentials, limit: int) -> Items:
        """Returns the first `limit` items or somewhat more; never raises what the vendor or the Proxy says."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """The choices of a field. `more` says that there are others, which a search may find."""

    options: tuple[tuple[Scalar, str], ...] = ()
    more: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Which choices are asked for: of which field of which form, for whom, and what is filled in so far, by id."""

    integration: str
    form: str
    version: str
    field: str
    asker: str
    connection: str
    values: Mapping[str, Any]
    search: str = ""
    ranges: Ranges = ()
    """The languages to say in why there are none; empty: English."""


class Options:
    """Answers with the choices of fields, and keeps them for a minute."""

    def __init__(self, forms: Forms, actions: Actions, clock: Clock) -> None:
        """Takes the forms, and what runs actions."""
        self._forms = forms
        self._actions = actions
        self._clock = clock
        self._kept: OrderedDict[Call, tuple[float, Items]] = OrderedDict()

    async def listed(self, question: Question, credentials: Credentials) -> Listed:
        """Returns the choices; raises NotFound, and InvalidFields for a field that has none of this kind."""
        about = (question.integration, question.form, question.version)
        tree, words = await self._forms.tree(*about), words_in(await self._forms.spoken(*about, question.ranges))
        source = next((each.source for each in walk(tree.fields) if each.id == question.field), None)
        if source is None:
            raise InvalidFields.one("field_id", "is not a field whose choices come from the vendor")
        given, missing = _input(tree, source, question)
        if missing:
            labels = await self._labels(question, missing)
            return Listed(problem=words.fill_in_first.replace("{labels}", ", ".join(labels)))
        call = Call(question.asker, question.connection, source.action, json_text(given))
        found = await self._items(call, credentials)
        if found.runs_nothing:
            return Listed(problem=words.runs_nothing)
        searched = "" if source.search_property else question.search.casefold()
        options = dict(_options(found.items, source))
        shown = [(value, label) for value, label in options.values() if searched in label.casefold()]
        return Listed(tuple(shown[:MOST_OPTIONS]), found.more or len(shown) > MOST_OPTIONS, found.problem)

    async def _labels(self, question: Question, ids: list[str]) -> list[str]:
        """Returns what fields are called in the language that is asked for."""
        about = (question.integration, question.form, question.version)
        document = (await self._forms.document(*about, question.ranges)).message
        called = {field.id: field.label or field.wire_name for field in every(document.fields)}
        return [called[each] for each in ids]

    async def _items(self, call: Call, credentials: Credentials) -> Items:
        now = self._clock.monotonic()
        kept = self._kept.get(call)
        if kept is not None and now - kept[0] < FRESH_SECONDS:
            self._kept.move_to_end(call)
            return kept[1]
        found = await self._actions.items(call, credentials, MOST_OPTIONS)
        if not (found.problem or found.runs_nothing):
            self._kept[call] = (now, found)
            if len(self._kept) > MOST_LISTS:
                self._kept.popitem(last=False)
        return found


def _input(tree: FormTree, source: OptionSource, question: Question) -> tuple[dict[str, Any], list[str]]:
    """Returns the input of the action that lists, and the ids of the fields that it has to wait for."""
    given: dict[str, Any] = json.loads(source.input_json) if source.input_json else {}
    fields: dict[str, Field] = {field.id: field for field in walk(tree.fields)}
    missing = []
    for name, other in source.inputs:
        value = question.values.get(other)
        if value in (None, ""):
            missing.append(other)
        else:
            given[name] = value_of(fields[other], value)
    if source.search_property and question.search:
        given[source.search_property] = question.search
    return given, missing


def _options(items: tuple[Any, ...], source: OptionSource) -> Iterator[tuple[str, tuple[Scalar, str]]]:
    for item in items:
        value = _at(item, source.value_pointer)
        if isinstance(value, Scalar) and value != "":
            label = _at(item, source.label_pointer) if source.label_pointer else value
            text = clean(plain_label(label), _LABEL) if isinstance(label, Scalar) else ""
            yield json_text(value), (value, text or plain_label(value))


def _at(value: Any, pointer: str) -> Any:
    """Returns what a JSON Pointer leads to, or None."""
    for step in pointer.split("/")[1:]:
        name = unescape(step)
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and len(name) < 7 and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value
