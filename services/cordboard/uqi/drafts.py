"""From a definition version to its forms: pure, deterministic, and at the price of one form where one goes wrong."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cordboard.catalog.v1 import definition_pb2
from cordboard.core.schema import MAX_EFFORT, JsonSchema, SchemaInvalid, effort
from cordboard.uqi import (
    appsmith,
    arrangement,
    brevity,
    canonical,
    conditions,
    dependence,
    expressions,
    fields,
    files,
    hints,
    intersection,
    json_schema,
    keys,
    presentation,
    reading,
    sign_in,
    source,
    texts,
    together,
    wiring,
    words,
    workspace_settings,
)
from cordboard.uqi.fields import (
    Command,
    Datasource,
    Entries,
    Field,
    FormTexts,
    FormTree,
    Group,
    Items,
    Json,
    Kind,
    Union,
)
from cordboard.uqi.reading import Limits, Reader
from cordboard.uqi.sign_in import sign_in_fields
from cordboard.uqi.source import SharedSchemas, Source
from cordboard.uqi.texts import JsonInvalid, clean, humanise, json_text
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.wiring import wires

LIMITS: Final = Limits()
# A form with more shared schemas than this would not fit into a message beside its own fields.
MAX_SHARED_CHARACTERS: Final = 400_000
# The largest of 4,977 forms of real descriptions has a schema of 168,000.
MAX_SCHEMA_CHARACTERS: Final = 600_000
MAX_LOSSES: Final = 100
_TITLE: Final = 200
_DESCRIPTION: Final = 4_000
# Appsmith's words for the kinds of auth schemes; it has none for the others.
_DATASOURCES: Final = {
    "basic": "basic",
    "bearer": "bearerToken",
    "oauth2": "oAuth2",
    "api_key": "apiKey",
    "none": "none",
}
_LOSS: Final = 300


@dataclass(frozen=True, slots=True)
class Draft:
    """One form as it was made; `id` is `action.{id}`, `auth.{id}` or `settings`."""

    id: str
    title: str
    description: str
    json_schema: str
    appsmith: str
    losses: tuple[str, ...]
    etag: str
    document: bytes = b""
    """The canonical document, without the version: its revision, and so its bytes, are the same in each."""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A form that could not be made, and why."""

    id: str
    problem: str


class Draftsman:
    """Makes the forms of one definition."""

    def __init__(self, definition: definition_pb2.Definition) -> None:
        """Takes the definition; reads what its forms share."""
        self._definition = definition
        self._commands = keys.commands(definition.slug, (action.id for action in definition.actions))
        self._actions = {f"action.{action.id}": action for action in definition.actions}
        self._declared = {scheme.id: scheme for scheme in definition.auth_schemes}
        self._schemes = {f"auth.{scheme.id}": scheme for scheme in definition.auth_schemes}
        self._settings = [workspace_settings.FORM] if definition.config_variables else []
        self._problem = ""
        try:
            self._shared = SharedSchemas(definition.schemas_json)
        except JsonInvalid as error:
            self._shared = SharedSchemas("")
            self._problem = f"the shared schemas of the definition: {error}"

    def ids(self) -> list[str]:
        """Returns the id of every form of the definition, sorted."""
        return sorted([*self._actions, *self._schemes, *self._settings])

    def drafts(self, ids: Sequence[str]) -> list[Draft | Failure]:
        """Returns each of these forms, or why it cannot be made."""
        return [self._tried(form_id) for form_id in ids]

    def _tried(self, form_id: str) -> Draft | Failure:
        try:
            return self._draft(form_id)
        except Exception as error:  # whatever one action's schema provokes, the other forms are made
            return Failure(form_id, f"{type(error).__name__}: {clean(str(error), _LOSS)}")

    def _draft(self, form_id: str) -> Draft:
        if form_id in self._schemes:
            tree, losses = _auth_form(self._schemes[form_id], self._declared)
            tree = replace(tree, language=self._definition.language)
            return self._finish(form_id, tree, losses, {})
        if form_id == workspace_settings.FORM:
            tree, losses = workspace_settings.settings_form(self._definition)
            return self._finish(form_id, tree, losses, {})
        action = self._actions[form_id]
        losses = [self._problem] if self._problem else []
        try:
            origin = Source(action.input_schema_json, self._shared)
        except JsonInvalid as error:
            origin = Source("", self._shared)
            losses.append(f"the input schema: {error}; the form has no fields")
        files = {action.request.body.property} if action.request.body.encoding == _BINARY else set()
        reader = Reader(origin, LIMITS, frozenset(files), hints.hints(action.form_hints))
        found, rest = reader.form()
        tree = FormTree(
            title=clean(action.title, _TITLE) or humanise(action.id),
            description=clean(action.description, _DESCRIPTION),
            target=Command(self._commands[action.id]),
            fields=found,
            constraints=rest,
            language=self._definition.language,
            translations=_translations(action.translations),
        )
        tree, shortened = brevity.brief(tree)
        shared = origin.closure(json_schema.project(tree))
        lost = [*losses, *origin.losses, *reader.losses, *shortened]
        return self._finish(form_id, replace(tree, shared=shared), lost, wires(action.request))

    def _finish(
        self, form_id: str, tree: FormTree, losses: list[str], bindings: Mapping[str, form_pb2.WireBinding]
    ) -> Draft:
        tree, schema, lost = _usable(tree)
        shown = appsmith.project(tree)
        schema_text, appsmith_text = json_text(schema), json_text(shown.document)
        unique = [clean(loss, _LOSS) for loss in dict.fromkeys([*losses, *lost, *shown.losses])]
        if len(unique) > MAX_LOSSES:
            unique = [*unique[: MAX_LOSSES - 1], f"and {len(unique) - MAX_LOSSES + 1} more"]
        name = f"integrations/{self._definition.slug}/forms/{form_id}"
        document = canonical.document(tree, name=name, wires=bindings, losses=[_loss(text) for text in unique])
        content = [tree.title, tree.description, schema_text, appsmith_text, unique, document.revision]
        return Draft(
            form_id,
            tree.title,
            tree.description,
            schema_text,
            appsmith_text,
            tuple(unique),
            hashlib.sha256(json_text(content).encode()).hexdigest()[:32],
            document.SerializeToString(deterministic=True),
            document.revision,
        )


_BINARY: Final = definition_pb2.BODY_ENCODING_BINARY


def generator_hash() -> str:
    """Returns a hash of everything that decides what a form looks like; forms of another generator are made again."""
    modules = (
        appsmith, arrangement, brevity, canonical, conditions, dependence, expressions, fields, files, hints,
        intersection, json_schema, keys, presentation, reading, sign_in, source, texts, together, wiring,
        words, workspace_settings,
    )  # fmt: skip
    material = "".join(inspect.getsource(module) for module in modules) + inspect.getsource(Draftsman) + repr(LIMITS)
    return hashlib.sha256(material.encode()).hexdigest()[:32]


def _loss(text: str) -> form_pb2.Loss:
    target = form_pb2.FORM_TARGET_APPSMITH if text.startswith("Appsmith: ") else form_pb2.FORM_TARGET_UNSPECIFIED
    return form_pb2.Loss(target=target, text=text)


def _usable(tree: FormTree) -> tuple[FormTree, dict[str, Any], list[str]]:
    """Returns the form with as much of its constraints as makes a schema that compiles and can be checked in time."""
    losses: list[str] = []
    document = json_schema.project(tree)
    problem = _size_problem(document) or _problem(tree, document)
    if problem:
        losses.append(f"{problem}; what its JSON fields hold is checked when the action runs")
        tree = replace(tree, constraints={}, shared={}, fields=tuple(_loose(field) for field in tree.fields))
        document = json_schema.project(tree)
        problem = _problem(tree, document)
        if problem:
            raise SchemaInvalid(problem)
    return tree, document, losses


def _size_problem(document: dict[str, Any]) -> str:
    if len(json_text(document)) > MAX_SCHEMA_CHARACTERS:
        return f"the schema of the form has more than {MAX_SCHEMA_CHARACTERS} characters"
    return ""


def _problem(tree: FormTree, document: dict[str, Any]) -> str:
    if tree.shared and len(json_text(tree.shared)) > MAX_SHARED_CHARACTERS:
        return f"the schemas behind the form have more than {MAX_SHARED_CHARACTERS} characters"
    if effort(document) > MAX_EFFORT:
        return f"the schemas behind the form apply more than {MAX_EFFORT} schemas to a value"
    try:
        JsonSchema.compile(document)
    except SchemaInvalid as error:
        return f"the schemas behind the form cannot be compiled: {error}"
    return ""


def _loose(field: Field) -> Field:
    kind: Kind = field.kind
    constraints: dict[str, Any] = {}
    if isinstance(kind, Group):
        kind = replace(kind, fields=tuple(_loose(member) for member in kind.fields))
    elif isinstance(kind, Items):
        kind = Items(_loose(kind.item))
    elif isinstance(kind, Entries):
        kind = Entries(_loose(kind.value))
    elif isinstance(kind, Union):
        kind = replace(kind, variants=tuple(_loose(variant) for variant in kind.variants))
    elif isinstance(kind, Json) and kind.types:
        constraints = {"type": list(kind.types)}
    return replace(field, kind=kind, constraints=constraints)


def _auth_form(
    scheme: definition_pb2.AuthScheme, schemes: Mapping[str, definition_pb2.AuthScheme]
) -> tuple[FormTree, list[str]]:
    title = clean(scheme.title, _TITLE) or humanise(scheme.id)
    description = clean(scheme.description, _DESCRIPTION)
    losses: list[str] = []
    kind = scheme.WhichOneof("kind")
    target = Datasource(_DATASOURCES.get(kind or "none", "none"))
    if kind == "api_key":
        places = {definition_pb2.PLACEMENT_HEADER: "header", definition_pb2.PLACEMENT_QUERY: "queryParams"}
        place = places.get(scheme.api_key.placement, "")
        if not place:
            losses.append("Appsmith: a key in a cookie has no word there; shown as a header")
        name = clean(scheme.api_key.name, _TITLE)
        target = Datasource("apiKey", (("label", name), ("addTo", place or "header")))
    elif kind not in _DATASOURCES:
        losses.append(f"Appsmith: {kind} has no word there; shown without an authentication type")
    fields = sign_in_fields(scheme, schemes)
    return FormTree(title, description, target, fields, translations=_translations(scheme.translations)), losses


def _translations(given: Iterable[definition_pb2.TextTranslation]) -> tuple[FormTexts, ...]:
    return tuple(
        FormTexts(each.language, clean(each.title, _TITLE), clean(each.description, _DESCRIPTION)) for each in given
    )
