"""What commands print: text that somebody else wrote, such as a vendor's, is shown as it is and does nothing."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.cli import differences, output
from cordboard.cli.demo.narrator import Narrator
from cordboard.cli.output import Format, Terminal, marked, show_fields, show_json, show_rows

CLI = Path(output.__file__).parent
HOSTILE = "[/x] [red]sale[/red] :smile: \x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil"
SHOWN = "[/x] [red]sale[/red] :smile: [31mred]0;title 2J evil"


def a_terminal(file: io.StringIO) -> Terminal:
    """A terminal of many columns that knows colours."""
    return Terminal(file=file, width=2000, force_terminal=True, color_system="truecolor")


def printed(monkeypatch: pytest.MonkeyPatch, show: Callable[[], None]) -> str:
    """What a terminal gets that knows colours."""
    file = io.StringIO()
    for module in (output, differences):
        monkeypatch.setattr(module, "console", a_terminal(file))
    show()
    return file.getvalue()


def without_colours(text: str) -> str:
    return Text.from_ansi(text).plain


def test_a_cell_of_a_table_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [catalog.DefinitionVersion(name=HOSTILE)]
    shown = printed(monkeypatch, lambda: show_rows(Format.TABLE, messages, ("name",), [(HOSTILE,)]))
    assert SHOWN in without_colours(shown)
    assert "\x1b[31m" not in shown
    assert not set(shown) & {"\x07", "\x9b", "\u202e"}


def test_a_cell_of_our_own_has_its_style(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [catalog.DefinitionVersion()]
    shown = printed(monkeypatch, lambda: show_rows(Format.TABLE, messages, ("state",), [(Text("killed", "red"),)]))
    assert "\x1b[31mkilled" in shown


def test_a_field_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = printed(monkeypatch, lambda: show_fields(Format.TABLE, catalog.DefinitionVersion(), {"title": HOSTILE}))
    assert SHOWN in without_colours(shown)


def test_a_difference_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    change = governance.DefinitionChange(kind=governance.DefinitionChange.KIND_ADDED, field=HOSTILE, new_value=HOSTILE)
    found = governance.DefinitionDifference(changes=[change])
    shown = printed(monkeypatch, lambda: differences.show_difference(found))
    assert f"+ {SHOWN}: {SHOWN}" in without_colours(shown)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(HOSTILE, id="a line"),
        pytest.param(Text(HOSTILE), id="a text"),
        pytest.param(marked("red", "refused", HOSTILE), id="a word of ours and a text"),
    ],
)
def test_a_message_is_shown_as_it_is(message: RenderableType) -> None:
    file = io.StringIO()
    a_terminal(file).print(message, style="dim")
    assert SHOWN in without_colours(file.getvalue())
    assert not set(file.getvalue()) & {"\x07", "\x9b", "\u202e"}


def test_the_demo_tells_an_answer_as_it_is() -> None:
    file = io.StringIO()
    narrator = Narrator(a_terminal(file))
    with narrator.step(HOSTILE, HOSTILE) as step:
        step.result(HOSTILE)
    narrator.say(HOSTILE)
    narrator.summary()
    assert without_colours(file.getvalue()).count(SHOWN) == 6


def test_rich_itself_would_not_show_it_so() -> None:
    """The negative control: what the tests above look for is what another console does not do."""
    table = Table()
    table.add_column("name")
    table.add_row("[red]sale[/red] \x1b[35m")
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    assert "[red]" not in file.getvalue()
    assert "\x1b[35m" in file.getvalue()


def test_json_has_no_command_to_a_terminal_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"title": HOSTILE, "ü": "ü"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"title": HOSTILE, "ü": "ü"}
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "ü" in text


def test_no_command_has_a_console_of_its_own_or_writes_markup() -> None:
    for file in CLI.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert name not in {"Console", "from_markup"}, f"{file.name}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                # A step of a start names nothing but our own processes, and rich draws it by markup alone.
                assert file.name == "mesh.py" or "[/" not in node.value, f"{file.name}:{node.lineno}"
