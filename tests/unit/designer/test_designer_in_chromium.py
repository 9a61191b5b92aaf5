"""`cordboard design`, used by a person in a real browser: from the file to the preview, and back into the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.chromium import INSTALLED, MISSING, Browser

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

COMMAND = str(Path(sys.executable).parent / "cordboard")
FILE = """\
# Acme Desk, as its own people know it.
slug: acme
version: 1.0.0
title: Acme Desk   # not Acme Inc.
owner: integrations
criticality: low
documentation_uri: https://acme.example/docs
review_interval_days: 90
servers:
- url: https://api.acme.example/v1

auth_schemes:
- id: key
  api_key: {placement: header, name: X-Api-Key}

actions:
# What most people need.
- id: create_ticket
  title: Create a ticket
  input_schema:
    type: object
    properties:
      subject: {type: string}
      state: {enum: [open, done]}
    required: [subject]
  request:
    method: POST
    path: /tickets
    body:
      encoding: json
      fields:
      - {property: subject, name: subject}
      - {property: state, name: state}
  form_hints:
  # The agreed word.
  - property: subject
    label: Subject   # and not Title
- id: list_queues
  input_schema: {type: object, properties: {}}
  request: {method: GET, path: /queues}
"""


@dataclass
class Designer:
    """A designer that runs, and the file that it is open for."""

    url: str
    file: Path
    browser: Browser

    def play(self, *acts: list[Any], **given: Any) -> dict[str, Any]:
        """Returns what a person saw who did this on the page."""
        (found,) = self.browser({"url": self.url, "acts": list(acts), **given})
        return found


@contextmanager
def running(*paths: Path) -> Iterator[str]:
    """Runs the command; gives the link that it prints, and ends it as a person does."""
    process = subprocess.Popen(
        [COMMAND, "design", *map(str, paths), "--no-browser", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("}"):
            break
    try:
        yield str(json.loads(said)["url"])
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""


@pytest.fixture
def desk(tmp_path: Path, designer: Browser) -> Iterator[Designer]:
    file = tmp_path / "acme.yaml"
    file.write_text(FILE)
    with running(tmp_path) as url:
        yield Designer(url, file, designer)


def test_a_person_changes_a_field_sees_it_at_once_and_saves_it_into_the_file(desk: Designer) -> None:
    seen = desk.play(
        ["wait", "As customers see it"],
        ["click", "Subject", None, "#parts"],
        ["fill", "Label", "What is broken", "#editor"],
        ["wait", "What is broken", None, "#preview"],
        ["fill", "Help", "One line is enough.", "#editor"],
        ["wait", "One line is enough.", None, "#preview"],
        ["click", "State", None, "#parts"],
        ["check", "Fill in Names of the choices", True, "#editor"],
        ["fill", "open", "Still open", "#editor"],
        ["fill", "Group", "More", "#editor"],
        ["wait", "More", None, "#preview"],
        ["click", "Add to In other languages", None, "#editor"],
        ["fill last", "Language", "de", "#editor"],
        ["fill last", "Label", "Stand", "#editor"],
        ["wait", "Language", None, "#preview"],
        ["select", "Language", "de", "#preview"],
        ["wait", "Stand", None, "#preview"],
        ["wait", "Nothing: all is well.", None, "#findings"],
        ["click", "Save"],
        ends="Saved into acme.yaml.",
    )
    assert seen["wrong"] == [], seen
    assert seen["title"] == "Designer"
    # The token is not where others could read it.
    assert seen["address"].endswith("/design")
    changed = FILE.replace(
        "    label: Subject   # and not Title\n",
        "    label: What is broken   # and not Title\n"
        "    help: One line is enough.\n"
        "  - property: state\n"
        "    group: More\n"
        "    choices:\n"
        "      open: Still open\n"
        "    translations:\n"
        "    - language: de\n"
        "      label: Stand\n",
    )
    assert desk.file.read_text() == changed


def test_what_is_wrong_stands_at_the_field_and_nothing_of_it_is_saved(desk: Designer) -> None:
    seen = desk.play(
        ["click", "Subject", None, "#parts"],
        # The editor of the form itself, which is there at first, takes other languages too.
        ["wait", "How the field looks", None, "#editor"],
        ["click", "Add to In other languages", None, "#editor"],
        ["fill last", "Language", "en", "#editor"],
        ["wait", "Language is the definition's own language", None, "#editor"],
        ["fill last", "Language", "not a language", "#editor"],
        ["wait", "Language is not a language", None, "#editor"],
        ends="Not taken over",
    )
    assert seen["wrong"] == [], seen
    assert seen["invalid"] == 1
    assert seen["title"] == "Designer"
    assert desk.file.read_text() == FILE


def test_fields_are_moved_and_the_change_can_be_discarded(desk: Designer) -> None:
    seen = desk.play(
        ["click", "State", None, "#parts"],
        ["click", "Move up", None, "#editor"],
        ["wait", "changed here", None, "#parts li:nth-child(2)"],
        ends="As customers see it",
    )
    assert seen["wrong"] == [], seen
    preview = seen["said"]["preview"]
    assert preview.index("State") < preview.index("Subject")
    assert seen["title"] == "Designer (not saved)"
    # The change waits for whoever opens the page next, while the command runs.
    seen = desk.play(["click", "Discard changes"], ends="The changes are discarded.")
    preview = seen["said"]["preview"]
    assert preview.index("Subject") < preview.index("State")
    assert desk.file.read_text() == FILE


def test_a_variable_that_customers_set_is_added_and_described(desk: Designer) -> None:
    seen = desk.play(
        ["click", "What customers set", None, "nav[aria-label=Forms]"],
        ["click", "Add a variable"],
        ["fill", "Name", "no good", "#editor"],
        ["click", "Add", None, "#editor"],
        ["wait", "There is a problem", None, "#editor"],
        ["fill", "Name", "region", "#editor"],
        ["click", "Add", None, "#editor"],
        ["fill", "Label", "Region", "#editor"],
        ["select", "What it is", "One of a few texts", "#editor"],
        ["click", "Add to The texts", None, "#editor"],
        ["fill last", "Text", "eu", "#editor"],
        ["click", "Add to The texts", None, "#editor"],
        ["fill last", "Text", "us", "#editor"],
        ["check", "Nothing works without it", True, "#editor"],
        ["wait", "Region (required)", None, "#preview"],
        ["fill", "Value where none is set", "mars", "#editor"],
        ["wait", "Value where none is set does not fit the schema", None, "#editor"],
        ["fill", "Value where none is set", "eu", "#editor"],
        ["wait", "Region (optional)", None, "#preview"],
        ["click", "Save"],
        ends="Saved into acme.yaml.",
        dark=True,
    )
    assert seen["wrong"] == [], seen
    assert desk.file.read_text() == FILE + (
        "config_variables:\n- name: region\n  title: Region\n  schema:\n    type: string\n    enum:\n    - eu\n"
        "    - us\n  required: true\n  default_value: eu\n"
    )


def test_a_file_that_somebody_else_changed_is_not_overwritten(desk: Designer) -> None:
    acts: list[list[Any]] = [
        ["click", "Subject", None, "#parts"],
        ["fill", "Label", "Mine", "#editor"],
        ["wait", "Mine", None, "#preview"],
    ]
    assert desk.play(*acts, ends="As customers see it")["wrong"] == []
    theirs = FILE.replace("label: Subject", "label: Theirs")
    desk.file.write_text(theirs)
    seen = desk.play(["click", "Save"], ends="was changed by somebody else")
    assert desk.file.read_text() == theirs
    seen = desk.play(["click", "Discard changes"], ["wait", "Theirs", None, "#preview"], ends="are discarded")
    assert "Theirs" in seen["said"]["preview"]


def test_a_file_that_cannot_be_read_is_named_and_the_others_open(tmp_path: Path, designer: Browser) -> None:
    (tmp_path / "acme.yaml").write_text(FILE)
    (tmp_path / "broken.yaml").write_text("slug: [broken\n")
    with running(tmp_path) as url:
        (seen,) = designer({"url": url, "acts": [], "ends": "As customers see it"})
    assert seen["wrong"] == [], seen
    assert "broken.yaml: the YAML cannot be read" in seen["said"]["page"]


def test_without_the_token_the_page_can_do_nothing(desk: Designer) -> None:
    (seen,) = desk.browser(
        {"url": desk.url.partition("#")[0] + "#token=guessed", "acts": [], "ends": "This link is not"}
    )
    assert [each for each in seen["wrong"] if "status of 401" not in each] == [], seen
    assert "Acme" not in seen["said"]["page"]
