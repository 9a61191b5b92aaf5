"""What Appsmith's form renderer asks of a document, checked on ours: paths, identifiers, options, expressions, text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

CONTAINERS = {"SECTION_V2", "SINGLE_COLUMN_ZONE", "DOUBLE_COLUMN_ZONE"}
CONTROLS = {
    "INPUT_TEXT", "QUERY_DYNAMIC_INPUT_TEXT", "QUERY_DYNAMIC_TEXT", "DROP_DOWN", "SWITCH", "FILE_PICKER",
    "KEYVALUE_ARRAY", "ARRAY_FIELD", "CUSTOM_ACTIONS_CONFIG_FORM",
}  # fmt: skip
KEY = r"[A-Za-z_][A-Za-z0-9_]{1,62}"
COMMAND_PATH = "actionConfiguration.formData.command"
FIELD_PATH = re.compile(rf"actionConfiguration\.formData\.{KEY}(\.{KEY})*")
DATASOURCE_PATH = re.compile(
    rf"datasourceConfiguration\.(authentication(\.{KEY})+|properties\[\d+\]\.(?P<part>key|value))"
)
SHOW = re.compile(rf"\{{\{{actionConfiguration\.formData\.command === '{KEY}'\}}\}}")
# One strict boolean, of safe paths, quoted values and nothing that could do anything.
WORDS = rf"""(?:actionConfiguration\.formData(?:\.{KEY})+|"(?:[^"\\{{}}<>&]|\\["\\/bfnrt]|\\u[0-9a-f]{{4}})*"
|-?[0-9][0-9.eE+-]*|true|false|undefined|null|Number\(|&&|\|\||[!=]==|[<>]=?|[!() ])"""
SAFE = re.compile(rf"\{{\{{!!\((?:{WORDS})*\)\}}\}}".replace("\n", ""))
BINDING = re.compile(rf"\{{\{{actionConfiguration\.formData(\.{KEY})+\}}\}}")
RESERVED = {
    "data", "viewType", "componentData", "jsonData", "children", "condition", "length", "constructor", "prototype",
    "__proto__", "toString", "valueOf", "hasOwnProperty",
}  # fmt: skip


def problems(document: dict[str, Any]) -> list[str]:
    """Returns everything about a document that Appsmith would draw wrongly, run, or not draw at all."""
    if "form" in document:
        return list(_form(document))
    return list(_editor(document))


def controls(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the controls of a document, in order."""
    return [node for node, _ in _nodes(document.get("editor", document.get("form", []))) if "children" not in node]


def control(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Returns the one control whose path ends in `key`."""
    (found,) = [each for each in controls(document) if each["configProperty"].endswith(f".{key}")]
    return found


def _nodes(
    nodes: list[dict[str, Any]], parents: tuple[str, ...] = ()
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    for node in nodes:
        yield node, parents
        yield from _nodes(node.get("children", []), (*parents, node.get("controlType", "")))


def _editor(document: dict[str, Any]) -> Iterator[str]:
    if set(document) != {"editor"}:
        yield f"the document has {sorted(document)}"
    keys: Counter[str] = Counter()
    for node, parents in _nodes(document["editor"]):
        kind = node.get("controlType")
        name = node.get("configProperty") or node.get("identifier")
        if not name:
            yield f"a {kind} has no name of its own"
        keys[str(node.get("propertyName") or name)] += 1
        if "children" in node:
            yield from _container(node, parents)
        else:
            yield from _control(node, parents)
        yield from _texts(node, str(name))
    yield from (f"the evaluation key {key!r} is there {count} times" for key, count in keys.items() if count > 1)


def _container(node: dict[str, Any], parents: tuple[str, ...]) -> Iterator[str]:
    if node["controlType"] not in CONTAINERS:
        yield f"{node['controlType']!r} is no container"
    expected = () if node["controlType"] == "SECTION_V2" else ("SECTION_V2",)
    if parents != expected:
        yield f"{node['identifier']}: stands in {parents}"
    if node["controlType"] == "SECTION_V2" and node["identifier"] != "SELECTOR":
        show = node.get("conditionals", {}).get("show", "")
        if set(node["conditionals"]) != {"show"} or not SHOW.fullmatch(show):
            yield f"{node['identifier']}: {show!r} is no strict boolean of a safe path"
    elif "conditionals" in node:
        yield from _conditionals(node, node["identifier"])


def _control(node: dict[str, Any], parents: tuple[str, ...]) -> Iterator[str]:
    path = node["configProperty"]
    if node["controlType"] not in CONTROLS:
        yield f"{path}: {node['controlType']!r} is no control"
    if not parents or not parents[-1].endswith("_ZONE"):
        yield f"{path}: stands in no zone"
    if path != COMMAND_PATH and not FIELD_PATH.fullmatch(path):
        yield f"{path}: is no safe path"
    steps = path.split(".")[2:]
    if any(step in RESERVED or step.lower().startswith("data") for step in steps):
        yield f"{path}: has a reserved word"
    if "conditionals" in node:
        yield from _conditionals(node, path)
    yield from _options(node, path)
    for column in node.get("schema", ()):
        if not re.fullmatch(KEY, column["key"]):
            yield f"{path}: {column['key']!r} is no safe key of a column"
        yield from _options(column, f"{path}.{column['key']}")
    if "initialValue" in node:
        yield from _initial(node, path)


def _conditionals(node: dict[str, Any], name: str) -> Iterator[str]:
    for word, said in node["conditionals"].items():
        text = said["condition"] if word == "fetchDynamicValues" else said
        if word not in ("show", "fetchDynamicValues") or not SAFE.fullmatch(text):
            yield f"{name}: {text!r} is no strict boolean of safe paths"
        if word == "fetchDynamicValues":
            parameters = said["config"]["params"]["parameters"].values()
            yield from (f"{name}: {each!r} is no path" for each in parameters if not BINDING.fullmatch(each))


def _options(node: dict[str, Any], path: str) -> Iterator[str]:
    options = node.get("options")
    if (node["controlType"] == "DROP_DOWN") != (options is not None):
        yield f"{path}: options and control type do not fit"
    values = [option["value"] for option in options or ()]
    if not all(isinstance(value, str) for value in values):
        yield f"{path}: an option's value is no string"
    if len(set(values)) != len(values):
        yield f"{path}: two options have one value"


def _initial(node: dict[str, Any], path: str) -> Iterator[str]:
    """Checks that the control reads its initial value back as what it would itself have written."""
    value = node["initialValue"]
    kind = node["controlType"]
    if kind == "SWITCH":
        fits = isinstance(value, bool)
    elif kind == "DROP_DOWN":
        known = {option["value"] for option in node["options"]}
        fits = set(value) <= known if node.get("isMultiSelect") else value in known
    elif kind in ("KEYVALUE_ARRAY", "ARRAY_FIELD"):
        fits = isinstance(value, list) and all(isinstance(cell, str) for row in value for cell in row.values())
    else:
        fits = isinstance(value, str)
    if not fits:
        yield f"{path}: cannot read its initial value {value!r}"


def _form(document: dict[str, Any]) -> Iterator[str]:
    if set(document) != {"form"}:
        yield f"the document has {sorted(document)}"
    paths: Counter[str] = Counter()
    for section in document["form"]:
        if set(section) != {"sectionName", "id", "children"}:
            yield f"a section has {sorted(section)}"
        yield from _texts({key: value for key, value in section.items() if key != "children"}, "the section")
        for node in section["children"]:
            path = node["configProperty"]
            paths[path] += 1
            told = DATASOURCE_PATH.fullmatch(path)
            if told is None:
                yield f"{path}: is no path of a datasource"
            # Properties are rows of any text; an authentication is what its own fields take.
            plain = {"INPUT_TEXT", "DROP_DOWN"} if told and told["part"] == "value" else {"INPUT_TEXT"}
            if node["controlType"] not in plain or "conditionals" in node:
                yield f"{path}: is no plain input"
            if any(not isinstance(option["value"], str) for option in node.get("options", ())):
                yield f"{path}: has a choice that is no text"
            if node.get("dataType") == "PASSWORD" and ("initialValue" in node or not node.get("encrypted")):
                yield f"{path}: a secret with a value, or not marked as one"
            if node.get("hidden") and not isinstance(node.get("initialValue"), str):
                yield f"{path}: hidden, with no value"
            yield from _texts(node, path)
    yield from (f"the path {path!r} is there {count} times" for path, count in paths.items() if count > 1)


def _texts(node: dict[str, Any], name: str) -> Iterator[str]:
    own = {key: value for key, value in node.items() if key not in ("children", "conditionals")}
    if any("{{" in text or "}}" in text for text in _strings(own)):
        yield f"{name}: has text that would be run"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)
