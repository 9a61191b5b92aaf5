"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


console = Console()
errors = Console(stderr=True)


def plain(message: Message) -> dict[str, Any]:
    """Returns a message as JSON values, as the mesh's JSON API has them."""
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def moment(time: Timestamp) -> str:
    """Returns a time as people read it, in UTC and to the second."""
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def show_json(value: Any) -> None:
    """Prints JSON, and nothing else."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


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
        table.add_row(*(str(cell) for cell in row))
    console.print(table)
    if not messages:
        console.print("[dim]none[/dim]")


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
