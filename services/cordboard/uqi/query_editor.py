"""All actions of an integration in one editor: the commands, and the whole of it as Appsmith UQI JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.uqi.appsmith import FORM_DATA
from cordboard.uqi.custom_action import COMMAND as CUSTOM
from cordboard.uqi.languages import Languages
from cordboard.uqi.rendering import Rendering, document, languages, translated
from cordboard.uqi.texts import json_text, neutral
from cordboard.uqi.wording import loss_said
from cordboard.uqi.words import Words, words_in

if TYPE_CHECKING:
    from cordboard.uqi.store import FormRecord

# What a gRPC client takes that was told nothing, with room for the rest of the message.
MOST_CHARACTERS: Final = 3_500_000
_PREFIX: Final = "action."


@dataclass(frozen=True, slots=True)
class Command:
    """An action in an editor."""

    command: str
    action: str
    form: str
    form_revision: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class QueryEditor:
    """An editor; `appsmith` is the whole of it for that client."""

    version: str
    revision: str
    commands: tuple[Command, ...]
    appsmith: Rendering
    languages: Languages
    custom_requests: bool = False
    """It takes requests of a person's own, too."""

    def named(self, command: str) -> Command | None:
        """Returns a command, or None."""
        return next((each for each in self.commands if each.command == command), None)


def query_editor(
    version: str, records: Iterable[FormRecord], most: int = MOST_CHARACTERS, *, language: str = ""
) -> QueryEditor:
    """Returns the editor over these forms of actions; what does not fit into `most` characters is left out.

    `language` is one of those that the forms have texts in beside their own; empty: their own.
    """
    found: list[tuple[Command, dict[str, Any]]] = []
    known: set[Languages] = set()
    forwards = False
    for stored in records:
        known.add(languages(stored))
        forwards = forwards or _sends_http(stored)
        record = translated(stored, language) if language else stored
        section = orjson.loads(record.appsmith)["editor"][1]
        action = record.form.removeprefix(_PREFIX)
        title = record.title or action
        shown = Command(section["identifier"], action, record.name, record.revision, title, record.description)
        found.append((shown, section))
    found.sort(key=lambda each: (each[0].title.lower(), each[0].command))
    commands = tuple(command for command, _ in found)
    material = json_text([[each.command, each.form, each.form_revision] for each in commands])
    revision = hashlib.sha256(material.encode()).hexdigest()
    own = next(iter(sorted({each.own for each in known})), "")
    others = tuple(sorted({tag for each in known for tag in each.others}))
    drawn = _appsmith(found, most, language or own, forwards=forwards)
    return QueryEditor(version, revision, commands, drawn, Languages(own, others), forwards)


def _sends_http(record: FormRecord) -> bool:
    """Tells whether an action is an HTTP request with inputs: what a person can forward one of their own beside."""
    return bool(record.document) and any(field.HasField("wire") for field in document(record).fields)


def _appsmith(found: list[tuple[Command, dict[str, Any]]], most: int, language: str, *, forwards: bool) -> Rendering:
    words = words_in(language)
    options = [{"label": neutral(command.title), "value": command.command} for command, _ in found]
    more = [{"label": words.custom_action, "value": CUSTOM}] if forwards else []
    tail = [json_text(_custom())] if forwards else []
    head = json_text(_selector([*options, *more], words))
    texts = [json_text(section) for _, section in found]
    losses: list[str] = []
    if len(_joined([head, *texts, *tail])) > most:
        # Programs read these slots to have the form whole; people see no difference.
        texts = [json_text({name: value for name, value in section.items() if name != "_uqi"}) for _, section in found]
        losses.append("Appsmith: what it cannot express is left out, for the editor is large")
    kept, room = 0, most - len(_joined([head, *tail]))
    while kept < len(texts) and len(texts[kept]) + 1 <= room:
        room -= len(texts[kept]) + 1
        kept += 1
    if kept < len(texts):
        losses.append(f"Appsmith: {len(texts) - kept} commands beyond {most} characters are not shown")
        head = json_text(_selector([*options[:kept], *more], words))
    text = _joined([head, *texts[:kept], *tail])
    return Rendering(
        text, hashlib.sha256(text.encode()).hexdigest()[:32], tuple(loss_said(loss, language) for loss in losses)
    )


def _custom() -> dict[str, Any]:
    """Returns the section of a request of a person's own, as Appsmith's own editors have it."""
    control = {
        "label": "",
        "identifier": f"{CUSTOM}_FORM",
        "configProperty": f"{FORM_DATA}.{CUSTOM}",
        "controlType": "CUSTOM_ACTIONS_CONFIG_FORM",
    }
    zone = {"controlType": "SINGLE_COLUMN_ZONE", "identifier": f"{CUSTOM}_Z1", "children": [control]}
    return {
        "controlType": "SECTION_V2",
        "identifier": CUSTOM,
        "conditionals": {"show": f"{{{{{FORM_DATA}.command === '{CUSTOM}'}}}}"},
        "children": [zone],
    }


def _joined(sections: list[str]) -> str:
    return f'{{"editor":[{",".join(sections)}]}}'


def _selector(options: list[dict[str, str]], words: Words) -> dict[str, Any]:
    command = {
        "label": words.command,
        "description": words.which_action,
        "configProperty": f"{FORM_DATA}.command",
        "controlType": "DROP_DOWN",
        "isSearchable": True,
        "isRequired": True,
        "options": options,
    }
    zone = {"controlType": "DOUBLE_COLUMN_ZONE", "identifier": "SELECTOR_Z1", "children": [command]}
    return {"controlType": "SECTION_V2", "identifier": "SELECTOR", "children": [zone]}
