"""What a person can say of forms, of every kind of part, and what becomes of it in the files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from cordboard.designer.editors import Refused, pruned
from cordboard.designer.server import serving
from cordboard.designer.workbench import Workbench
from tests.unit.designer.test_designer_in_chromium import FILE

CHILD = """\
slug: acme-eu
version: 1.0.0
title: Acme Desk EU
owner: integrations
criticality: low
documentation_uri: https://acme.example/docs
review_interval_days: 90
extends: {integration: acme, version: 1.0.0}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    (tmp_path / "acme.yaml").write_text(FILE)
    (tmp_path / "acme-eu.yaml").write_text(CHILD)
    return Workbench({path.name: path for path in sorted(tmp_path.iterdir())})


def parts(bench: Workbench, form: str, file: str = "acme.yaml") -> list[str]:
    """The parts of a form."""
    return [each["id"] for each in bench.form(file, form)["parts"]]


def document(bench: Workbench, file: str = "acme.yaml") -> dict[str, Any]:
    """What would be saved."""
    found = yaml.safe_load(bench.text(file))
    assert isinstance(found, dict)
    return found


def refused(problem: pytest.ExceptionInfo[Refused]) -> list[tuple[str, str]]:
    """Where something is wrong, and what."""
    return [(each.pointer, each.text) for each in problem.value.problems]


def test_a_definition_shows_all_of_its_forms_and_their_parts(bench: Workbench) -> None:
    forms = bench.opened("acme.yaml")["forms"]
    assert [each["id"] for each in forms] == ["settings", "auth.key", "action.create_ticket", "action.list_queues"]
    assert parts(bench, "settings") == []
    assert parts(bench, "auth.key") == ["form", "api_key"]
    assert parts(bench, "action.create_ticket") == ["form", "subject", "state"]


def test_what_is_said_of_an_action_and_of_a_key_is_shown_in_their_forms(bench: Workbench) -> None:
    told = {"title": "Raise a ticket", "translations": [{"language": "de", "title": "Ticket anlegen"}]}
    bench.change("acme.yaml", "action.create_ticket", "form", told)
    bench.change("acme.yaml", "auth.key", "api_key", {"title": "Desk key", "description": "Under Settings, API."})
    assert bench.form("acme.yaml", "action.create_ticket")["document"]["title"] == "Raise a ticket"
    assert bench.form("acme.yaml", "action.create_ticket", "de")["document"]["title"] == "Ticket anlegen"
    (field,) = bench.form("acme.yaml", "auth.key")["document"]["fields"]
    assert (field["label"], field["help"]) == ("Desk key", "Under Settings, API.")
    scheme = document(bench)["auth_schemes"][0]
    assert scheme["fields"] == [{"name": "api_key", "title": "Desk key", "description": "Under Settings, API."}]
    assert bench.findings("acme.yaml") == []


def test_a_field_is_added_to_an_auth_scheme_and_taken_away(bench: Workbench) -> None:
    assert bench.add("acme.yaml", "auth.key", {"name": "site"}) == "site"
    bench.change("acme.yaml", "auth.key", "site", {"title": "Site", "plain": True, "optional": True})
    assert document(bench)["auth_schemes"][0]["fields"] == [
        {"name": "site", "title": "Site", "plain": True, "optional": True}
    ]
    with pytest.raises(Refused) as problem:
        bench.add("acme.yaml", "auth.key", {"name": "api_key"})
    assert refused(problem) == [("/name", "stands there already")]
    bench.remove("acme.yaml", "auth.key", "site")
    bench.save("acme.yaml")
    assert not bench.opened("acme.yaml")["changed"]
    assert bench.text("acme.yaml") == FILE


def test_choices_from_the_vendor_can_be_asked_of_actions_that_change_nothing(bench: Workbench) -> None:
    told = {"options": {"action": "list_queues", "value_pointer": "/id"}}
    bench.change("acme.yaml", "action.create_ticket", "subject", {"label": "Subject", **told})
    hint = document(bench)["actions"][0]["form_hints"][0]
    assert hint == {"property": "subject", "label": "Subject", **told}
    told["options"]["action"] = "create_ticket"
    with pytest.raises(Refused) as problem:
        bench.change("acme.yaml", "action.create_ticket", "subject", {"label": "Subject", **told})
    assert [pointer for pointer, _ in refused(problem)] == ["/options/action"]


def test_what_says_nothing_is_left_out_and_a_persons_own_json_stays() -> None:
    given: dict[str, Any] = {
        "label": "",
        "tab": None,
        "choices": {"a": ""},
        "options": {"input": {"q": ""}},
        "translations": [],
    }
    assert pruned(given) == {"options": {"input": {"q": ""}}}


def test_a_hint_that_says_nothing_is_taken_out(bench: Workbench) -> None:
    bench.change("acme.yaml", "action.create_ticket", "state", {"group": "More", "columns": 2})
    bench.change("acme.yaml", "action.create_ticket", "subject", {})
    assert [each["property"] for each in document(bench)["actions"][0]["form_hints"]] == ["state"]


def test_what_a_base_says_is_shown_and_only_what_differs_is_written(bench: Workbench) -> None:
    editor = bench.editor("acme-eu.yaml", "action.create_ticket", "subject")
    assert editor["values"] == {"label": "Subject"}
    bench.change("acme-eu.yaml", "action.create_ticket", "subject", {"label": "Subject", "help": "In English."})
    assert document(bench, "acme-eu.yaml")["actions"] == [
        {"id": "create_ticket", "form_hints": [{"property": "subject", "help": "In English."}]}
    ]
    with pytest.raises(Refused) as problem:
        bench.change("acme-eu.yaml", "action.create_ticket", "subject", {"help": "In English."})
    assert refused(problem) == [("/label", "comes from the base of this definition, and can be replaced, not emptied")]
    assert bench.findings("acme-eu.yaml") == []


@pytest.mark.parametrize(
    ("file", "form", "part"),
    [
        ("../secret.yaml", "action.create_ticket", "subject"),
        ("acme.yaml", "action.nothing", "subject"),
        ("acme.yaml", "action.create_ticket", "nothing"),
        ("acme.yaml", "auth.nothing", "form"),
        ("acme.yaml", "settings", "nothing"),
        ("acme.yaml", "", ""),
    ],
)
def test_what_is_not_there_is_refused(bench: Workbench, file: str, form: str, part: str) -> None:
    for ask in (bench.editor, bench.remove):
        with pytest.raises(Refused):
            ask(file, form, part)
    with pytest.raises(Refused):
        bench.change(file, form, part, {"label": "X"})
    with pytest.raises(Refused):
        bench.move(file, form, part, 1)


def test_what_was_wrong_before_does_not_keep_a_person_from_changing_something_else(tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(FILE.replace("method: GET", "method: FETCH"))
    bench = Workbench({"acme.yaml": file})
    bench.change("acme.yaml", "action.create_ticket", "subject", {"label": "Title"})
    assert [each["rule"] for each in bench.findings("acme.yaml")] == ["meaning"]


def test_the_page_answers_to_its_own_address_and_token_alone(bench: Workbench) -> None:
    async def work() -> list[int]:
        async with serving(bench) as link, aiohttp.ClientSession() as session:
            at = urlsplit(link)
            token = at.fragment.partition("=")[2]
            url = f"http://{at.netloc}/design/api/definitions"
            good = {"authorization": f"Bearer {token}"}
            statuses = []
            for headers in (
                good,
                {},
                {"authorization": "Bearer guessed"},
                {**good, "host": "evil.example"},
                {**good, "origin": "https://evil.example"},
            ):
                async with session.post(url, json={}, headers=headers) as answer:
                    statuses.append(answer.status)
            async with session.post(url, data="{}", headers=good) as answer:
                statuses.append(answer.status)
            async with session.post(url, data="[]", headers={**good, "content-type": "application/json"}) as answer:
                statuses.append(answer.status)
            async with session.get(f"http://{at.netloc}/design") as answer:
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert token not in await answer.text()
            return statuses

    assert asyncio.run(work()) == [200, 401, 401, 403, 403, 404, 400]
