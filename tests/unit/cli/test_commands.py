"""The commands are there, and a command that runs does not wait for the import of the others."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from cordboard.cli.__main__ import application
from cordboard.cli.commands import PLACES

RUN = """
import json, sys
from cordboard.cli.__main__ import application
try:
    application()(sys.argv[1:])
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("name", PLACES)
def test_a_command_says_what_it_does(name: str) -> None:
    command = typer.main.get_group(application()).commands[name]
    assert command.name == name
    assert command.help
    done = CliRunner().invoke(application(), [name, "--help"])
    assert done.exit_code == 0, done.output


def test_a_group_has_what_other_modules_add_to_it_once() -> None:
    catalog = CliRunner().invoke(application(), ["catalog", "--help"]).output
    assert {name: catalog.count(f"│ {name} ") for name in ("list", "publish", "drift", "pins")} == {
        "list": 1, "publish": 1, "drift": 1, "pins": 1,
    }  # fmt: skip


def test_a_word_that_is_no_command_is_told_what_is_like_it() -> None:
    done = CliRunner().invoke(application(), ["flagz"])
    assert done.exit_code == 2
    assert "No such command 'flagz'" in done.output
    assert "'flag'" in done.output


@pytest.mark.parametrize(("words", "all_of_them"), [(("flag", "list", "--help"), False), (("--help",), True)])
def test_only_what_is_asked_for_is_imported(words: tuple[str, ...], all_of_them: bool) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True, timeout=60)
    imported = set(json.loads(done.stderr))
    wanted = {module for place in PLACES.values() for module in place.modules}
    assert "cordboard.cli.flags" in imported
    assert (wanted <= imported) is all_of_them
    assert ("cordboard.cli.demo.command" in imported) is all_of_them
