"""A form as a table in a terminal: every field at its place, with what it takes and when it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from rich.table import Table
from rich.text import Text

from cordboard.uqi.v1 import form_pb2 as pb

# What fits on a line; the JSON formats have all.
MOST_CHOICES: Final = 8
_LONGEST: Final = 200
_PLAIN: Final = {
    "number": "number",
    "integer": "whole number",
    "boolean": "yes or no",
    "secret": "secret",
    "group": "object",
}
_ORDERS: Final = {
    pb.COMPARE_OPERATOR_LESS: "below",
    pb.COMPARE_OPERATOR_LESS_OR_EQUAL: "at most",
    pb.COMPARE_OPERATOR_GREATER: "above",
    pb.COMPARE_OPERATOR_GREATER_OR_EQUAL: "at least",
}


def form_table(document: pb.FormDocument) -> Table:
    """Returns the fields of a form as they stand together; whatever its texts hold, they are text."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("field", "takes", "", "what it is"):
        table.add_column(column, overflow="fold")
    fields = {field.id: field for field in _every(document.fields)}
    labels = {name: field.label or field.wire_name for name, field in fields.items()}
    for row in _Rows(fields, labels).below(document.layout, 0):
        table.add_row(*row)
    return table


class _Rows:
    """Goes through the layout of a form."""

    def __init__(self, fields: Mapping[str, pb.FormField], labels: Mapping[str, str]) -> None:
        self._fields = fields
        self._labels = labels

    def below(self, nodes: Iterable[pb.LayoutNode], depth: int) -> Iterator[tuple[Text, ...]]:
        """Yields the rows of these parts, `depth` levels in."""
        for node in nodes:
            match node.WhichOneof("node"):
                case "field_id":
                    yield from self._field(self._fields[node.field_id], depth)
                case "columns":
                    yield from self.below(node.columns.nodes, depth)
                case "tabs":
                    for tab in node.tabs.tabs:
                        yield _heading(f"[{tab.title}]", depth)
                        yield from self.below(tab.nodes, depth + 1)
                case _ if node.section.field_id:
                    yield from self._field(self._fields[node.section.field_id], depth)
                    yield from self.below(node.section.nodes, depth + 1)
                case _:
                    yield _heading(node.section.title, depth)
                    yield from self.below(node.section.nodes, depth + 1)

    def _field(self, field: pb.FormField, depth: int) -> Iterator[tuple[Text, ...]]:
        name = field.wire_name if field.wire_name not in ("", "*") else field.key
        said = [self._labels[field.id], field.help.strip().partition("\n")[0][:_LONGEST]]
        if field.HasField("active_when"):
            said.append(f"only when {condition(field.active_when, self._labels)}")
        # A label that is made of the name says nothing that the name does not.
        own = name.replace("_", " ").lower()
        told = ". ".join(text.rstrip(".") for text in said if text and text.lower() not in (name.lower(), own))
        yield Text("  " * depth + name), Text(takes(field)), self._need(field), Text(told)
        # The rows of a list and of a map, each of which has these.
        for item in _items(field.type):
            if item.type.WhichOneof("kind") == "group":
                for member in item.type.group.fields:
                    yield from self._field(member, depth + 1)

    def _need(self, field: pb.FormField) -> Text:
        if field.required:
            return Text("required", style="red")
        if field.HasField("required_when"):
            return Text(f"required when {condition(field.required_when, self._labels)}", style="red")
        return Text("deprecated", style="dim") if field.deprecated else Text()


def takes(field: pb.FormField) -> str:
    """Returns what a field takes, with its default."""
    default = f" = {field.default_json}" if field.HasField("default_json") else ""
    return _kind(field.type) + default


def condition(given: pb.Condition, labels: Mapping[str, str]) -> str:
    """Returns a condition in words, with fields by their labels."""
    match given.WhichOneof("node"):
        case "all":
            return " and ".join(condition(each, labels) for each in given.all.conditions) or "always"
        case "any":
            return " or ".join(condition(each, labels) for each in given.any.conditions) or "never"
        case "not":
            return f"not ({condition(getattr(given, 'not'), labels)})"
        case _:
            compare = given.compare
            label, values = labels.get(compare.field_id, compare.field_id), " or ".join(compare.values_json)
            if compare.operator == pb.COMPARE_OPERATOR_PRESENT:
                return f"{label} is there"
            return f"{label} is {_ORDERS.get(compare.operator, '')} {values}".replace("  ", " ")


def _kind(kind: pb.FieldType) -> str:
    name = kind.WhichOneof("kind") or "json"
    match name:
        case "text":
            return "text of several lines" if kind.text.multiline else "text"
        case "moment":
            return kind.moment.part
        case "choice":
            return _choices(kind.choice.choices)
        case "choices":
            return f"any of {_choices(kind.choices.choices)}"
        case "list":
            return f"list of {_kind(kind.list.item.type)}"
        case "map":
            return f"map of {_kind(kind.map.value.type)}"
        case "union":
            return f"one of {' | '.join(each.label or each.key for each in kind.union.variants)}"
        case "file":
            limits = [f"file ({', '.join(kind.file.accept)})" if kind.file.accept else "file"]
            return ", ".join([*limits, *([f"at most {kind.file.max_bytes} bytes"] if kind.file.max_bytes else [])])
        case "json":
            return f"JSON ({'/'.join(kind.json.types)})" if kind.json.types else "JSON"
        case _:
            return _PLAIN[name]


def _choices(choices: Iterable[pb.Choice]) -> str:
    shown = [plain if each.label in ("", plain) else f"{plain} ({each.label})" for each, plain in _named(choices)]
    return " | ".join(shown[:MOST_CHOICES]) + (" | …" if len(shown) > MOST_CHOICES else "")


def _named(choices: Iterable[pb.Choice]) -> Iterator[tuple[pb.Choice, str]]:
    for each in choices:
        yield each, each.value_json.removeprefix('"').removesuffix('"')


def _heading(title: str, depth: int) -> tuple[Text, ...]:
    return (Text("  " * depth + title, style="bold"),)


def _items(kind: pb.FieldType) -> tuple[pb.FormField, ...]:
    match kind.WhichOneof("kind"):
        case "list":
            return (kind.list.item,)
        case "map":
            return (kind.map.value,)
        case _:
            return ()


def _every(fields: Iterable[pb.FormField]) -> Iterator[pb.FormField]:
    for field in fields:
        yield field
        inside = {"group": field.type.group.fields, "union": field.type.union.variants}
        yield from _every(inside.get(field.type.WhichOneof("kind") or "", _items(field.type)))
