"""The checks themselves: a document that breaks one rule of Appsmith's is caught."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.uqi.appsmith_rules import problems

PATH = "actionConfiguration.formData"
GOOD: dict[str, Any] = {
    "editor": [
        {
            "controlType": "SECTION_V2",
            "identifier": "ACME_X",
            "conditionals": {"show": f"{{{{{PATH}.command === 'ACME_X'}}}}"},
            "children": [
                {
                    "controlType": "SINGLE_COLUMN_ZONE",
                    "identifier": "ACME_X_Z1",
                    "children": [
                        {
                            "controlType": "DROP_DOWN",
                            "configProperty": f"{PATH}.ACME_X.colour",
                            "label": "Colour",
                            "options": [{"label": "Red", "value": "red"}],
                            "initialValue": "red",
                        }
                    ],
                }
            ],
        }
    ]
}


def test_a_good_document_has_no_problems() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("section", {"conditionals": {"show": f"{{{{{PATH}.command}}}}"}}),
        ("section", {"conditionals": {"show": f"{{{{{PATH}['command'] === 'ACME_X'}}}}"}}),
        ("section", {"name": "{{globalThis.x = 1}}"}),
        ("zone", {"identifier": "ACME_X"}),
        ("zone", {"controlType": "SECTION"}),
        ("control", {"label": "a {{b}}"}),
        ("control", {"configProperty": f"{PATH}.ACME_X.q"}),
        ("control", {"configProperty": f"{PATH}.ACME_X.database"}),
        ("control", {"configProperty": f"{PATH}.ACME_X.page size"}),
        ("control", {"configProperty": f"{PATH}.ACME_X.__proto__"}),
        ("control", {"options": [{"label": "Five", "value": 5}], "initialValue": 5}),
        ("control", {"initialValue": "blue"}),
        ("control", {"controlType": "BUTTON"}),
    ],
)
def test_a_broken_rule_is_a_problem(where: str, change: dict[str, Any]) -> None:
    document = copy.deepcopy(GOOD)
    section = document["editor"][0]
    zone = section["children"][0]
    {"section": section, "zone": zone, "control": zone["children"][0]}[where].update(change)
    assert problems(document) != []
