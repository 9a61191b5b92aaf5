"""What the hand-written pages say can be followed: links, paths, commands, and the definition that they show."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from cordboard import client
from cordboard.catalog import definition, document
from cordboard.cli.__main__ import application
from cordboard.core.errors import CordboardError

ROOT = Path(__file__).resolve().parents[3]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
DECISIONS = sorted((ROOT / "docs/decisions").glob("0*.md"))
names = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def shown_commands() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                yield line.partition("$ ")[2].partition(" # ")[0].strip()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_to_nowhere_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](nothing.md) [b](#here) [c](#there) [d](https://example.com)", encoding="utf-8")

    assert broken_links(page) == ["nothing.md", "#there"]


def test_the_paths_that_the_security_page_names_exist() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| ") and row.count("|") == 5]
    cells = [cell for row in rows for cell in row[3:5]]
    found = [path for cell in cells for path in re.findall(r"`([\w./-]+/[\w.-]+)`", cell)]

    assert len(found) > 120
    assert [path for path in found if not (ROOT / path.replace("core/", "services/cordboard/core/", 1)).exists()
            and not (ROOT / path).exists()] == []  # fmt: skip


def test_the_tree_of_the_architecture_is_the_real_one() -> None:
    lines = blocks(ROOT / "docs/architecture.md", "")[0].splitlines()
    shown = {name.strip("/") for line in lines for name in re.split(r"\s+", line[:24].strip()) if line[:2] != "  "}
    packages = {
        name.strip("/")
        for line in lines
        if line.startswith("  ")
        for name in line.strip().partition("     ")[0].split()
        if name.endswith("/")
    }
    listed = {name for line in lines for name in line.split() if re.fullmatch(r"[\w.]+\.(md|toml|yaml)", name)}
    kinds = {name.strip("/") for line in lines if line.startswith("tests/") for name in line.split()[1:]}

    code = ROOT / "services/cordboard"
    assert packages == {path.parent.name for path in code.glob("*/__init__.py")}
    assert kinds == {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "._"}
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not _ignored(path)}
    assert top == {name.partition("/")[0] for name in shown if (ROOT / name).is_dir()}
    assert listed >= {path.name for path in ROOT.glob("*.md")}


def _ignored(path: Path) -> bool:
    """Tells whether git leaves a folder out: one that no clone has."""
    done = subprocess.run(["git", "-C", str(ROOT), "check-ignore", "-q", path.name], check=False)
    return path.name == ".git" or done.returncode == 0


def test_commands_exist_with_the_options_that_the_pages_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDBOARD_CLIENT_SECRET", "x")
    found = [shlex.split(line)[1:] for line in shown_commands() if re.match(r"(\.venv/bin/)?cordboard ", line)]

    assert len(found) > 20
    cordboard = typer.main.get_command(application())
    for arguments in found:
        parse(cordboard, arguments)


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(typer.main.get_command(application()), ["call", "acme/desk", "get_me", "--no-such-option"])


def parse(command: Any, arguments: list[str]) -> None:
    """Reads a command line as the command itself does, and runs nothing."""
    name = "cordboard"
    while commands := getattr(command, "commands", None):
        while arguments[0].startswith("-"):
            # An option of every command, with its value, comes before the command's name.
            option, _, *arguments = arguments
            assert option in {each for parameter in command.params for each in parameter.opts}
        name, *arguments = arguments
        command = commands[name]
    command.make_context(name, arguments)


def test_make_targets_that_the_pages_use_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    used = {line.split()[1] for line in shown_commands() if line.startswith("make ")}

    assert used
    assert used <= targets


def test_the_python_examples_use_names_that_exist() -> None:
    trees = [ast.parse(block) for page in PAGES for block in blocks(page, "python")]
    imported = {
        alias.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "cordboard.client"
        for alias in node.names
    }

    assert trees
    assert imported <= set(client.__all__)


def test_the_definition_of_the_guide_can_be_published() -> None:
    [text] = blocks(ROOT / "docs/adding-an-integration.md", "yaml")

    assert definition.problems(document.read(text).definition) == []


@pytest.mark.parametrize(
    ("correct", "wrong"),
    [
        ("path: /contacts/{contact_id}", "path: /contacts/{other}"),
        ("{property: id, name: contact_id", "{property: nothing, name: contact_id"),
        ("check_action: whoami", "check_action: nobody"),
        ("category: api", "category: apy"),
    ],
)
def test_a_mistake_in_the_definition_of_the_guide_would_be_found(correct: str, wrong: str) -> None:
    [text] = blocks(ROOT / "docs/adding-an-integration.md", "yaml")
    assert correct in text

    with pytest.raises(CordboardError):
        definition.check(document.read(text.replace(correct, wrong)).definition)


@pytest.mark.parametrize("page", DECISIONS, ids=[page.stem for page in DECISIONS])
def test_a_decision_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = int(page.name[:4])

    assert re.match(r"---\nstatus: (proposed|accepted|rejected|superseded)\ndate: \d{4}-\d\d-\d\d\n---\n\n# ", text)
    assert f"\n# {number}. " in text
    assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Options considered", "Consequences"]
    assert f"]({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_licence_of_every_dependency_is_stated_as_its_metadata_has_it() -> None:
    page = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| ([a-z][a-z0-9-]+) \| ([^|]+?)(?: \(\w+: [^|]*\))? \| ", page, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    packages = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in wanted}

    assert set(stated) == packages
    for package in packages:
        described = metadata.metadata(package)
        expression = described["License-Expression"] if "License-Expression" in described else stated[package]
        assert expression == stated[package], package


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_lines_are_not_too_long_outside_tables(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "<!--"))]

    assert long == []


def test_the_generator_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, check=False)

    assert done.returncode == 0
