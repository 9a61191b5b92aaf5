"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# What moves the cursor, colours, or turns the reading direction around: C0 but for tab and line feed, C1, and the
# bidirectional controls of Unicode.
_COMMANDS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_RAW: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


class Terminal(Console):
    """Prints text as it is: nothing in it becomes a style, a picture or a command to the terminal."""

    def __init__(self, *, stderr: bool = False, **settings: Any) -> None:
        """Takes whether it is standard error that is printed to, and rich's other settings."""
        super().__init__(stderr=stderr, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yields the parts of what is printed, without what a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else _COMMANDS.sub("", text), style, control)


console = Terminal()
errors = Terminal(stderr=True)


def marked(style: str, word: str, text: str) -> Text:
    """Returns a word of ours in a style, and a text after it as it is."""
    return Text.assemble((word, style), f" {text}")


def plain(message: Message) -> dict[str, Any]:
    """Returns a message as JSON values, as the mesh's JSON API has them."""
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def printable(text: str) -> str:
    """Returns a text on one line, with a sign in place of what terminals would act upon."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text.replace("\n", " | "))


def moment(time: Timestamp) -> str:
    """Returns a time as people read it, in UTC and to the second."""
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def show_json(value: Any) -> None:
    """Prints JSON, and nothing else."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # These stand within texts alone, where JSON knows another way to write them.
    sys.stdout.write(_RAW.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n")


def show_rows(
    format: Format,  # noqa: A002 - the option's name
    messages: Sequence[Message],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Prints a list: the messages as a JSON array, or a row for each under the columns."""
    if format is Format.JSON:
        show_json([plain(message) for message in messages])
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    console.print(table)
    if not messages:
        console.print("none", style="dim")


def show_fields(format: Format, message: Message, fields: dict[str, Any]) -> None:  # noqa: A002
    """Prints one thing: the message as JSON, or its fields line by line."""
    if format is Format.JSON:
        show_json(plain(message))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in ("", None, []):
            table.add_row(name, str(value))
    console.print(table)
