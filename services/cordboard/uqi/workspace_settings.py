"""What a workspace sets for an integration: its config variables, as the fields of one form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi.fields import Field, FieldTexts, FormTexts, FormTree, Secret, Settings, Text
from cordboard.uqi.hints import Hint
from cordboard.uqi.languages import DEFAULT
from cordboard.uqi.reading import Limits, Reader
from cordboard.uqi.secrecy import SECRET_FORMAT
from cordboard.uqi.source import SharedSchemas, Source
from cordboard.uqi.texts import clean, json_text, plain_label
from cordboard.uqi.words import words_in

FORM: Final = "settings"
_LABEL: Final = 120
_HELP: Final = 1000
_LIMITS: Final = Limits()
# What a schema may say of a secret that nobody is shown: neither its values nor what is usual.
_OF_SECRETS: Final = ("type", "pattern", "minLength", "maxLength")


def settings_form(definition: pb.Definition) -> tuple[FormTree, list[str]]:
    """Returns the form of a definition's config variables, and what of them could not be shown as it is."""
    variables = {each.name: each for each in definition.config_variables}
    source = Source(json_text({"type": "object", "properties": dict(_schemas(definition))}), SharedSchemas(""))
    shown: dict[tuple[str, ...], Hint] = {(name,): _hint(each) for name, each in variables.items()}
    reader = Reader(source, _LIMITS, hints=shown)
    fields, rest = reader.form()
    told = set(_told(definition))
    fields = tuple(_as_set(field, variables[field.name], told) for field in fields)
    words, *others = _words(definition)
    tree = FormTree(
        words.title,
        words.description,
        Settings(),
        fields,
        constraints=rest,
        language=definition.language,
        translations=tuple(others),
    )
    return tree, [*source.losses, *reader.losses]


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns values of config variables as a workspace keeps them: as text."""
    return {name: value if isinstance(value, str) else json_text(value) for name, value in settings.items()}


def _words(definition: pb.Definition) -> Iterator[FormTexts]:
    """Yields what the form is called in the definition's own language, then in the others that it has texts in."""
    title = clean(definition.title, _LABEL) or definition.slug
    others = {each.language for variable in definition.config_variables for each in variable.translations}
    for language in (definition.language or DEFAULT, *sorted(others)):
        words = words_in(language)
        yield FormTexts(language, words.settings, words.what_is_shared.replace("{title}", title))


def _schemas(definition: pb.Definition) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in definition.config_variables:
        given = json.loads(each.schema_json) if each.schema_json else {}
        # A text is all that a variable can be; a schema that is none was refused when it was published.
        schema: dict[str, Any] = given if isinstance(given, dict) and given else {"type": "string"}
        if each.secret:
            schema = {word: schema[word] for word in _OF_SECRETS if word in schema}
            schema = {**schema, "type": "string", "format": SECRET_FORMAT}
        yield each.name, {name: value for name, value in schema.items() if name != "default"}


def _hint(each: pb.ConfigVariable) -> Hint:
    default = json.loads(each.default_value_json) if each.default_value_json and not each.secret else ""
    return Hint(
        label=clean(each.title, _LABEL),
        help=clean(each.description, _HELP),
        # Not as a value: what is left empty follows the definition when its default changes.
        placeholder=clean(plain_label(default), _LABEL) if default not in ("", None) else "",
        translations=tuple(
            FieldTexts(one.language, clean(one.title, _LABEL), clean(one.description, _HELP))
            for one in each.translations
        ),
    )


def _as_set(field: Field, each: pb.ConfigVariable, told: set[str]) -> Field:
    required = each.required and not each.default_value_json and each.name not in told
    constraints = field.constraints
    if required and isinstance(field.kind, Text | Secret):
        # An empty text is no value.
        constraints = {"minLength": 1, **constraints}
    return replace(field, required=required, default=None, constraints=constraints)


def _told(definition: pb.Definition) -> Iterator[str]:
    """Yields the variables that a vendor's answer gives values for, so that nobody has to."""
    for scheme in definition.auth_schemes:
        kind = scheme.WhichOneof("kind")
        waiting = [getattr(scheme, kind)] if kind else []
        while waiting:
            part = waiting.pop()
            if isinstance(part, pb.TokenResponse):
                yield from part.config_variables
            elif hasattr(part, "ListFields"):
                waiting += [value for _, value in part.ListFields()]
