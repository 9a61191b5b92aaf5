"""What a definition says in other languages: each language once, one name for a group or a tab, labels of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.findings import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Action, Definition, FormHint

DEFAULT: Final = "en"
MOST_LANGUAGES: Final = 60


def check_translations(definition: Definition, found: Findings) -> None:
    """Notes texts in other languages that are there twice, or that belong to nothing."""
    own = definition.language or DEFAULT
    for index, variable in enumerate(definition.config_variables):
        _check_languages(own, variable.translations, found.below("config_variables", index))
    for index, scheme in enumerate(definition.auth_schemes):
        below = found.below("auth_schemes", index)
        _check_languages(own, scheme.translations, below)
        for position, field in enumerate(scheme.fields):
            _check_languages(own, field.translations, below.below("fields", position))
    for index, action in enumerate(definition.actions):
        below = found.below("actions", index)
        _check_languages(own, action.translations, below)
        _check_hints(own, action, below)


def _check_hints(own: str, action: Action, found: Findings) -> None:
    names: dict[tuple[str, str, str], str] = {}
    properties: Any = None
    for index, hint in enumerate(action.form_hints):
        below = found.below("form_hints", index)
        _check_languages(own, hint.translations, below)
        for position, texts in enumerate(hint.translations):
            one = below.below("translations", position)
            for part in ("group", "tab"):
                name, own_name = getattr(texts, part), getattr(hint, part)
                if not name:
                    continue
                one.require(bool(own_name), part, f"is the name of a {part} that the hint does not have")
                same = names.setdefault((part, own_name, texts.language.lower()), name)
                one.require(same == name, part, f"is {shown(same)} in another hint of the {part}")
        if hint.choices or any(texts.choices for texts in hint.translations):
            properties = _properties(action) if properties is None else properties
            _check_choices(hint, properties, below)


def _check_choices(hint: FormHint, properties: Mapping[str, Any], found: Findings) -> None:
    values = _values(properties.get(hint.property))
    if values is None:
        return  # The values stand where only the form's reader looks; what is not one of them changes nothing.
    _check_names(hint.choices, values, found)
    for position, texts in enumerate(hint.translations):
        _check_names(texts.choices, values, found.below("translations", position))


def _check_names(choices: Iterable[str], values: frozenset[str], found: Findings) -> None:
    for name in sorted(choices):
        found.require(name in values, f"choices.{name}", "is not one of the values")


def _check_languages(own: str, translations: Any, found: Findings) -> None:
    if len(translations) > MOST_LANGUAGES:
        found.add("translations", f"are more than {MOST_LANGUAGES}")
    known: set[str] = set()
    for index, each in enumerate(translations):
        below, tag = found.below("translations", index), each.language.lower()
        below.require(tag not in known, "language", f"{shown(each.language)} stands there already")
        below.require(tag != own.lower(), "language", "is the definition's own language")
        known.add(tag)


def _properties(action: Action) -> Mapping[str, Any]:
    try:
        schema = orjson.loads(action.input_schema_json) if action.input_schema_json else {}
    except orjson.JSONDecodeError:
        return {}
    found = schema.get("properties", {}) if isinstance(schema, dict) else {}
    return found if isinstance(found, dict) else {}


def _values(schema: Any) -> frozenset[str] | None:
    """Returns the names of the values that a schema lists itself, or in its items; None where it lists none."""
    for node in (schema, schema.get("items") if isinstance(schema, dict) else None):
        listed = node.get("enum") if isinstance(node, dict) else None
        if isinstance(listed, list):
            return frozenset(each if isinstance(each, str) else orjson.dumps(each).decode() for each in listed)
    return None
