"""What runs in browsers has its types checked and its own unit tests; here they become tests like all others."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format

from cordboard.auth.page_files import FOLDER
from cordboard.uqi.canonical import _read_condition
from cordboard.uqi.conditions import holds
from cordboard.uqi.v1 import form_pb2
from tests.fixtures.chromium import ROOT, WEB

VECTORS = ROOT / "tests" / "vectors" / "conditions.json"
# Each page as a whole, in bytes, before compression; and the console, after it.
LIGHT = {"connect": 44_000, "try": 64_000, "design": 52_000}
LIGHT_CONSOLE = 150_000
with_web = pytest.mark.skipif(not WEB, reason="needs Node.js and `make node`")


def run(folder: Path, *command: str) -> str:
    """Runs a command there; returns what it says, and fails with that where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


@with_web
def test_the_sources_have_the_types_that_they_say() -> None:
    run(ROOT / "web", "node", "console/generate.mjs")
    run(ROOT / "web", "npx", "--no-install", "tsc", "--noEmit")


@with_web
def test_the_type_checker_sees_a_wrong_type(tmp_path: Path) -> None:
    copy = tmp_path / "web"
    shutil.copytree(ROOT / "web", copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    broken = copy / "form" / "src" / "words.ts"
    broken.write_text(broken.read_text() + "\nexport const broken: number = 'text';\n")
    with pytest.raises(AssertionError, match=r"words.ts\(\d+,\d+\): error"):
        run(copy, "npx", "--no-install", "tsc", "--noEmit")


@with_web
def test_the_unit_tests_pass() -> None:
    said = run(ROOT / "web", "node", "test.mjs")
    assert "fail 0" in said
    assert "pass 0" not in said


@with_web
def test_the_files_of_the_pages_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    run(ROOT / "web", "node", "build.mjs", str(tmp_path))
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}, (
        "run `make web`, and commit what it makes"
    )
    for page, most in LIGHT.items():
        assert sum(len(data) for name, data in made.items() if name.partition(".")[0] == page) < most, page
    console = [gzip.compress(data) for name, data in made.items() if name.startswith("console.")]
    assert len(console) == 2
    assert sum(map(len, console)) < LIGHT_CONSOLE


@with_web
def test_the_generator_refuses_an_rpc_that_is_not_there(tmp_path: Path) -> None:
    copy = tmp_path / "web"
    shutil.copytree(ROOT / "web", copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    (tmp_path / "services").symlink_to(ROOT / "services")
    rpcs = copy / "console" / "rpcs.json"
    rpcs.write_text(rpcs.read_text().replace("ListTraces", "ListNothing"))
    with pytest.raises(AssertionError, match=r"no such RPCs: cordboard\.telemetry\.v1\.TraceService/ListNothing"):
        run(copy, "node", "console/generate.mjs")


def test_the_try_page_has_every_text_of_its_own_in_every_language() -> None:
    source = ROOT / "web" / "try" / "src"
    said = {text for path in source.glob("*.ts") for text in re.findall(r'\bsay\(\s*"([^"]+)"', path.read_text())}
    table = (source / "say.ts").read_text().partition("= {\n")[2].partition("\n};")[0]
    rows = re.findall(r'(?m)^  (?:"([^"]+)"|(\w+)): \[\s*"([^"]+)",\s*"([^"]+)",\s*"([^"]+)",?\s*\]', table)
    known = {quoted or word: others for quoted, word, *others in rows}
    assert said == set(known)
    for english, others in known.items():
        places = sorted(re.findall(r"\{\w+\}", english))
        assert [sorted(re.findall(r"\{\w+\}", text)) for text in others] == [places] * 3, english


def test_the_vectors_of_conditions_are_what_the_server_says() -> None:
    for vector in json.loads(VECTORS.read_text())["conditions"]:
        condition = _read_condition(json_format.ParseDict(vector["condition"], form_pb2.Condition()))
        assert holds(condition, vector["values"].get) is vector["holds"], vector


@pytest.mark.parametrize("source", sorted((ROOT / "web").glob("*/src/**/*.ts*")), ids=lambda path: path.name)
def test_no_source_makes_code_or_markup_of_text(source: Path) -> None:
    text = source.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert word not in text
