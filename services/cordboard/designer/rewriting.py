"""Changes what a document says and leaves the rest of its text as it is: comments, order, quotes and blank lines.

Only the lines of what differs are written anew. Whatever comes out is read again, and has to say exactly what was
wanted; else the change is refused. JSON has no comments: it is written anew, in its order and with its indentation.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import yaml

from cordboard.catalog.document import plain_yaml
from cordboard.catalog.text import Path, parse, written
from cordboard.core.errors import DocumentInvalid

WIDTH: Final = 120
# What names a member of a list among its neighbours, the first that all of them have.
NAMES: Final = ("id", "property", "name", "language")
_BOM: Final = "\ufeff"
_JSON_INDENT: Final = re.compile(r"[\[{]\r?\n([ \t]+)")
_AFTER: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\r?\n|\Z)")


_Kind = Literal["map", "list", "scalar", "alias"]


class CannotRewrite(Exception):
    """The text is written in a way in which this cannot be changed and the rest be left; the text says where."""


def rewritten(text: str, value: Any) -> str:
    """Returns the text of a document with `value` in the place of what it says; raises CannotRewrite."""
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    parsed = parse(text, refuse_duplicates=True)
    if parsed.value == value and _same_types(parsed.value, value):
        return mark + text
    made = _json(text, value) if parsed.is_json else _yaml(text, parsed.value, value)
    try:
        reread = parse(made, refuse_duplicates=True).value
    except DocumentInvalid as error:
        raise CannotRewrite(f"the text would not be one any more: {error.text}") from None
    if reread != value:
        raise CannotRewrite("aliases or merged mappings say the same in another place: change the file by hand")
    return mark + made


def _same_types(one: Any, other: Any) -> bool:
    """Tells true from 1, which Python takes for the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _json(text: str, value: Any) -> str:
    found = _JSON_INDENT.search(text)
    indent = found[1] if found else None
    separators = (",", ": ") if indent or ": " in text else (",", ":")
    made = json.dumps(value, ensure_ascii=text.isascii(), indent=indent, separators=separators)
    ending = text[len(text.rstrip()) :]
    return (made + ending).replace("\n", "\r\n" if "\r\n" in text else "\n") if "\r\n" not in ending else made + ending


@dataclass(slots=True)
class _Node:
    """A value in the text: from where to where it stands, without what follows its last character."""

    kind: _Kind
    start: int
    end: int
    is_flow: bool = False
    entries: list[tuple[str, int, _Node]] = field(default_factory=list)
    """Of a mapping: each key, where it begins, and its value."""
    items: list[_Node] = field(default_factory=list)


class _Grower:
    """Makes the tree of libyaml's events. A stack of its own, so that no nesting is too deep for it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[_Node] = []
        self._keys: list[tuple[str, int] | None] = []
        self.root: _Node | None = None

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            start, _ = _span(event)
            kind: _Kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
            self._open.append(_Node(kind, start, start, bool(event.flow_style)))
            self._keys.append(None)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node = self._open.pop()
            self._keys.pop()
            node.end = _span(event)[1] if node.is_flow else _end(node)
            self._add(node)
        elif isinstance(event, yaml.ScalarEvent):
            start, _ = _span(event)
            if self._open and self._open[-1].kind == "map" and self._keys[-1] is None:
                self._keys[-1] = (event.value, start)
            else:
                self._add(_Node("scalar", *self._trimmed(event)))
        elif isinstance(event, yaml.AliasEvent):
            self._add(_Node("alias", *self._trimmed(event)))

    def _trimmed(self, event: yaml.Event) -> tuple[int, int]:
        # The end of a block of text is where the next thing begins.
        start, end = _span(event)
        return start, start + len(self._text[start:end].rstrip())

    def _add(self, node: _Node) -> None:
        if not self._open:
            self.root = node
            return
        holder, key = self._open[-1], self._keys[-1]
        if holder.kind == "list":
            holder.items.append(node)
        elif key is None:
            raise CannotRewrite("an alias stands in the place of a key: change the file by hand")
        else:
            holder.entries.append((*key, node))
            self._keys[-1] = None


def _tree(text: str) -> _Node:
    """Returns the values of a text that is known to be YAML."""
    grower = _Grower(text)
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        grower.take(event)
    if grower.root is None:
        raise CannotRewrite("the document is empty")
    return grower.root


def _span(event: yaml.Event) -> tuple[int, int]:
    """Returns from where to where something stands; libyaml always says so."""
    start, end = event.start_mark, event.end_mark
    return (0 if start is None else start.index), (0 if end is None else end.index)


def _end(node: _Node) -> int:
    inner = [child.end for _, _, child in node.entries] or [child.end for child in node.items]
    return max([node.start, *inner])


@dataclass(frozen=True, slots=True)
class _Splice:
    start: int
    end: int
    text: str


def _yaml(text: str, old: Any, new: Any) -> str:
    rewriter = _Rewriter(text)
    root = _tree(text)
    if not rewriter.change(root, old, new, ()):
        raise CannotRewrite("the document is one flow mapping: change the file by hand")
    return rewriter.result()


class _Rewriter:
    """Collects what is to be put in the place of what."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._splices: list[_Splice] = []

    def result(self) -> str:
        made, reached = [], 0
        # What is put in at one place comes in the order in which it was asked for.
        for splice in sorted(self._splices, key=lambda one: (one.start, one.end)):
            if splice.start < reached:
                raise CannotRewrite("two changes meet in one line: change the file by hand")
            made += [self._text[reached : splice.start], splice.text.replace("\n", self._newline)]
            reached = splice.end
        return "".join([*made, self._text[reached:]])

    def change(self, node: _Node, old: Any, new: Any, path: Path) -> bool:
        """Changes the inside of a block; False where the whole value has to be written anew by what holds it."""
        if old == new and _same_types(old, new):
            return True
        if node.is_flow or not new:
            return False
        if node.kind == "map" and isinstance(old, dict) and isinstance(new, dict):
            return self._map(node, old, new, path)
        if node.kind == "list" and isinstance(old, list) and isinstance(new, list):
            return self._list(node, old, new, path)
        return False

    def _map(self, node: _Node, old: dict[str, Any], new: dict[str, Any], path: Path) -> bool:
        own = {key: (at, child) for key, at, child in node.entries}
        gone = [key for key in old if key not in new]
        for key in gone:
            if key not in own:
                raise CannotRewrite(f"{written((*path, key))} comes from a merged mapping: change the file by hand")
        left = [key for key, _, _ in node.entries if key in new]
        if not left:
            return False
        self._remove_entries(node, set(gone))
        for key in left:
            at, child = own[key]
            if key in old and not self.change(child, old[key], new[key], (*path, key)):
                self._replace(at, child, key, new[key])
        column = self._column(node.entries[0][1])
        after = left[0] if next(iter(new)) in own else left[-1]
        for key, value in new.items():
            if key in own:
                after = key
            elif key not in old or old[key] != value:
                self._insert(own[after][1].end, column, _block({key: value}))
        return True

    def _remove_entries(self, node: _Node, gone: set[str]) -> None:
        entries = node.entries
        for index, (key, start, child) in enumerate(entries):
            if key not in gone:
                continue
            line = self._line(start)
            if not self._text[line:start].strip():
                self._splices.append(_Splice(line, self._next_line(child.end), ""))
                continue
            # It stands on the line of the dash: what comes next takes its place.
            following = next((at for name, at, _ in entries[index + 1 :] if name not in gone), None)
            if following is None:
                raise CannotRewrite(f"{key!r} stands on a line with what is before it: change the file by hand")
            removed_until = start
            for name, _, other in entries[index:]:
                if name not in gone:
                    break
                removed_until = other.end
            if self._text[removed_until:following].count("#"):
                following_line = self._line(following)
                comments = self._text[self._next_line(removed_until) : following_line]
                if comments.strip():
                    raise CannotRewrite(f"a comment stands between {key!r} and what follows: change the file by hand")
            self._splices.append(_Splice(start, following, ""))
            gone = gone - {name for name, at, _ in entries if start <= at < following}

    def _list(self, node: _Node, old: list[Any], new: list[Any], path: Path) -> bool:
        known, wanted = _named(old), _named(new)
        if known is None or wanted is None or len(node.items) != len(old):
            return False
        places = {name: index for index, name in enumerate(known)}
        left = [name for name in known if name in wanted]
        if not left or left != [name for name in wanted if name in known]:
            return False
        for name in known:
            if name not in wanted:
                item = node.items[places[name]]
                self._splices.append(_Splice(self._line(self._dash(item)), self._next_line(item.end), ""))
        after, column = left[0], self._column(node.start)
        if next(iter(wanted)) not in known:
            after = left[-1]
        for name, value in wanted.items():
            if name not in known:
                self._insert(node.items[places[after]].end, column, _block([value]))
                continue
            after = name
            item = node.items[places[name]]
            if not self.change(item, known[name], value, (*path, places[name])):
                self._splices.append(_Splice(item.start, item.end, self._inline(item, value)))
        return True

    def _replace(self, at: int, child: _Node, key: str, value: Any) -> None:
        """Writes an entry anew: its value alone where that is one line, and stays one."""
        on_one_line = "\n" not in self._text[at : child.end] and child.end > child.start
        rest = _AFTER.match(self._text, child.end)
        if on_one_line and (child.kind != "map" or child.is_flow):
            made = _flow(value)
            fits = len(made) + self._column(child.start) <= WIDTH
            if "\n" not in made and (fits or rest is None or rest[0].strip() or child.is_flow):
                self._splices.append(_Splice(child.start, child.end, made))
                return
        if rest is None:
            raise CannotRewrite("something else stands on the line: change the file by hand")
        if on_one_line and rest[0].strip():
            # What follows on the line would become a part of a block.
            self._splices.append(_Splice(child.start, child.end, _flow(value)))
            return
        # A comment behind the last line of a block goes with it.
        made = _indented(_block({key: value}), self._column(at)).lstrip(" ")
        self._splices.append(_Splice(at, max(rest.end(), at), made))

    def _inline(self, item: _Node, value: Any) -> str:
        """Returns a value as it stands behind a dash."""
        if item.kind == "scalar" or item.is_flow:
            return _flow(value)
        return _indented(_block(value), self._column(item.start)).lstrip(" ")

    def _insert(self, after: int, column: int, block: str) -> None:
        """Puts lines in behind the line on which something ends."""
        rest = _AFTER.match(self._text, after)
        if rest is None:
            raise CannotRewrite("something else stands on the line: change the file by hand")
        self._splices.append(_Splice(rest.end(), rest.end(), "\n" + _indented(block, column)))

    def _dash(self, item: _Node) -> int:
        dash = self._text.rfind("-", 0, item.start)
        if self._text[self._line(dash) : dash].strip() or self._text[dash + 1 : item.start].strip():
            raise CannotRewrite("an item of a list does not begin on a line of its own: change the file by hand")
        return dash

    def _line(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _next_line(self, at: int) -> int:
        found = self._text.find("\n", at)
        return len(self._text) if found < 0 else found + 1

    def _column(self, at: int) -> int:
        return at - self._line(at)


def _named(members: list[Any]) -> dict[Any, Any] | None:
    """Returns members of a list by what names them; None where they do not all have a name of their own."""
    for name in NAMES:
        if all(isinstance(member, dict) and isinstance(member.get(name), str) for member in members):
            found = {member[name]: member for member in members}
            return found if len(found) == len(members) else None
    return None


def _block(value: Any) -> str:
    return plain_yaml(value).rstrip("\n")


def _flow(value: Any) -> str:
    if isinstance(value, str) and ("\n" in value or len(value) > WIDTH):
        return json.dumps(value, ensure_ascii=False)
    return plain_yaml(value, flow=True).removesuffix("\n").removesuffix("\n...")


def _indented(block: str, column: int) -> str:
    return "\n".join(" " * column + line if line else line for line in block.split("\n"))
