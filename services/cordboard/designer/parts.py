"""What a definition says of one part of a form: where that stands in the document, and as values of its editor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.json_pointers import pointer_to, unescape
from cordboard.designer.editors import Refused, Wrong
from cordboard.uqi import appsmith, json_forms, react
from cordboard.uqi.fields import Field, FormTree, Group
from cordboard.uqi.hints import inner, walk
from cordboard.uqi.sign_in import sign_in_fields
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.workspace_settings import FORM as SETTINGS

if TYPE_CHECKING:
    from cordboard.core.errors import Violation
    from cordboard.designer.editors import Editor

WHOLE: Final = "form"
"""The part that is the form itself."""
_OF_APPSMITH: Final = "Appsmith: "
# What can stand in a variable's schema that the designer has a word for.
_TYPES: Final = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text"}
_ORDER: Final = ("name", "title", "description", "schema", "required", "secret", "default_value", "translations")
_MUST_BE: Final = {
    "boolean": "must be true or false",
    "integer": "must be a whole number",
    "number": "must be a number",
}


def losses(document: form_pb2.FormDocument, tree: FormTree) -> Iterator[dict[str, str]]:
    """Yields what each format shows otherwise than it is, once each."""
    seen = set()
    told = [("", one.text) for one in document.losses if one.target != form_pb2.FORM_TARGET_APPSMITH]
    for target, project in (
        ("Appsmith", appsmith.project), ("JSON Forms", json_forms.project), ("React", react.project),
    ):  # fmt: skip
        told += [(target, loss.removeprefix(_OF_APPSMITH)) for loss in project(tree).losses]
    for target, text in told:
        if (target, text) not in seen:
            seen.add((target, text))
            yield {"target": target, "text": text}


def siblings(fields: tuple[Field, ...], path: tuple[str, ...]) -> tuple[Field, ...]:
    if any(each.path == path for each in fields) and all(each.name != "*" for each in fields):
        return fields
    for each in walk(fields):
        if isinstance(each.kind, Group) and any(one.path == path for one in inner(each)):
            return inner(each)
    return ()


def path_of(name: str) -> tuple[str, ...]:
    """Returns the way to the field that a hint's property names."""
    return tuple(unescape(step) for step in name[1:].split("/")) if name.startswith("/") else (name,)


def property_of(path: tuple[str, ...]) -> str:
    """Returns the property of a hint of the field at the end of a way."""
    return path[0] if len(path) == 1 and not path[0].startswith("/") else pointer_to(path)


def is_safe(action: pb.Action) -> bool:
    """Tells whether an action changes nothing."""
    if action.idempotency:
        return action.idempotency == pb.IDEMPOTENCY_SAFE
    return action.request.method in ("GET", "HEAD")


def added_fields(scheme: pb.AuthScheme) -> set[str]:
    """Returns the fields that the definition adds to those that the kind of the scheme has."""
    bare = pb.AuthScheme()
    bare.CopyFrom(scheme)
    del bare.fields[:]
    return {each.name for each in scheme.fields} - {each.name for each in sign_in_fields(bare, {})}


def type_of(schema: Mapping[str, Any]) -> str:
    """Returns the designer's word for the schema of a variable."""
    if not schema:
        return "text"
    listed = schema.get("enum")
    if set(schema) - {"type"} == {"enum"} and schema.get("type", "string") == "string":
        is_plain = isinstance(listed, list) and listed and all(isinstance(one, str) and one for one in listed)
        return "choice" if is_plain else "other"
    return _TYPES.get(str(schema["type"]), "other") if set(schema) == {"type"} else "other"


def shown(form: str, part: str, member: Mapping[str, Any], editor: Editor) -> dict[str, Any]:
    """Returns what is said of a part as values of its editor."""
    values = {name: each for name, each in member.items() if name in editor.members}
    if form != SETTINGS or part == WHOLE:
        return values
    schema = values.pop("schema", {})
    kind = type_of(schema)
    values["type"] = kind
    if kind == "choice":
        values["choices"] = schema["enum"]
    elif kind == "other":
        values["schema"] = schema
    default = values.get("default_value")
    if default is not None and not isinstance(default, str):
        values["default_value"] = json.dumps(default)
    return values


def said(form: str, part: str, values: dict[str, Any]) -> dict[str, Any]:
    """Returns values of an editor as the document has them; raises Refused."""
    # What is not so is not said, and neither is that something has no place of its own.
    said = {name: each for name, each in values.items() if each is not False and (name, each) != ("order", 0)}
    if form != SETTINGS or part == WHOLE:
        return said
    kind = said.pop("type")
    choices = said.pop("choices", [])
    if kind == "choice":
        said["schema"] = {"type": "string", "enum": choices}
    elif kind not in ("text", "other"):
        said["schema"] = {"type": kind}
    text = said.get("default_value", "")
    schema = said.get("schema", {})
    if text and kind != "text" and "string" not in str(schema.get("type", "")):
        try:
            said["default_value"] = json.loads(text)
        except ValueError:
            raise Refused(Wrong("/default_value", _MUST_BE.get(kind, "must be JSON"), "default_value")) from None
    return {name: said[name] for name in _ORDER if name in said}


def with_kept(said: dict[str, Any], before: Mapping[str, Any], editor: Editor) -> dict[str, Any]:
    """Returns what is said, with the names of choices in other languages that the editor has no field for."""
    if "choices" in editor.members or "translations" not in said:
        return said
    known = {one["language"]: one for one in before.get("translations", [])}
    kept = {name: {"choices": one["choices"]} for name, one in known.items() if "choices" in one}
    return {**said, "translations": [{**one, **kept.get(one["language"], {})} for one in said["translations"]]}


def ordered(member: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a member with what was there in its order, and what is new behind it."""
    names = [*(name for name in before if name in member), *(name for name in member if name not in before)]
    return {name: member[name] for name in names}


def put(holder: dict[str, Any], name: str, key: str, member: dict[str, Any]) -> None:
    members = holder.setdefault(name, [])
    for index, one in enumerate(members):
        if one.get(key) == member[key]:
            members[index] = ordered(member, one)
            return
    members.append(member)


def member_of(plain: dict[str, Any], kind: str, member_id: str) -> dict[str, Any]:
    """Returns an action or an auth scheme of a plain document; a new one where its base alone has it."""
    members: list[dict[str, Any]] = plain.setdefault(kind, [])
    found = next((one for one in members if one.get("id") == member_id), None)
    if found is None:
        members.append(found := {"id": member_id})
    return found


def scheme_of(plain: dict[str, Any], form: str) -> dict[str, Any] | None:
    return next((one for one in plain.get("auth_schemes", []) if f"auth.{one.get('id')}" == form), None)


def has_form(definition: pb.Definition, form: str) -> bool:
    names: Iterable[str] = (f"action.{one.id}" for one in definition.actions)
    return form == SETTINGS or form in (*names, *(f"auth.{one.id}" for one in definition.auth_schemes))


def wrong_at(violation: Violation, values: Mapping[str, Any]) -> Wrong:
    """Returns a violation at the field of an editor that it is about, where there is one."""
    steps = _steps(violation.field)
    for start in range(1, len(steps)):
        if steps[start] in values:
            return Wrong(pointer_to(steps[start:]), violation.description)
    return Wrong("", f"{violation.field} {violation.description}")


def _steps(field_path: str) -> list[str | int]:
    steps: list[str | int] = []
    for name in field_path.split("."):
        word, *indexes = name.replace("]", "").split("[")
        steps.append(word)
        steps += [int(index) for index in indexes]
    return steps
