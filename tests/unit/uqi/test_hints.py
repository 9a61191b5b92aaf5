"""What a definition says about how its fields look."""

from __future__ import annotations

import json

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi import json_schema
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import FormTree, OptionSource, Text
from tests.unit.uqi.appsmith_rules import control, controls, problems
from tests.unit.uqi.samples import a_definition, an_input

BOARD = an_input(
    "name",
    name={"type": "string"},
    board={"type": "string"},
    column={"type": "string"},
    secret={"type": "string", "default": "x"},
    address=an_input(city={"type": "string"}),
)


def drafted(*hints: pb.FormHint) -> tuple[FormTree, Draft]:
    """A form with these hints."""
    definition = a_definition(BOARD)
    definition.actions[0].form_hints.extend(hints)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    assert problems(json.loads(draft.appsmith)) == []
    return json_schema.read(json.loads(draft.json_schema)), draft


def test_labels_order_and_sections_come_from_hints() -> None:
    tree, draft = drafted(
        pb.FormHint(
            property="board", label="Which board", order=1, group="Place", placeholder="Pick", help="The board."
        ),
        pb.FormHint(property="/address/city", label="Town", widget=pb.WIDGET_MULTILINE),
    )
    first = tree.fields[0]
    assert (first.name, first.title, first.section, first.placeholder) == ("board", "Which board", "Place", "Pick")
    assert first.description == "The board."
    (city,) = next(field for field in tree.fields if field.name == "address").kind.fields  # type: ignore[union-attr]
    assert (city.title, city.kind) == ("Town", Text(multiline=True))
    document = json.loads(draft.appsmith)
    assert control(document, "board")["placeholderText"] == "Pick"
    assert document["editor"][1]["children"][0]["label"] == "Place"


def test_a_hidden_field_is_not_drawn_and_its_default_still_counts() -> None:
    _, draft = drafted(pb.FormHint(property="secret", widget=pb.WIDGET_HIDDEN))
    paths = [each["configProperty"].rpartition(".")[2] for each in controls(json.loads(draft.appsmith))]
    assert "secret" not in paths
    assert "board" in paths


def test_a_required_field_without_a_value_is_drawn_whatever_the_hint() -> None:
    _, draft = drafted(pb.FormHint(property="name", widget=pb.WIDGET_HIDDEN))
    assert control(json.loads(draft.appsmith), "name")["isRequired"]


def test_choices_from_an_action_wait_for_the_fields_they_depend_on() -> None:
    options = pb.OptionSource(
        action="list-columns", value_pointer="/id", label_pointer="/name", input_fields={"board_id": "board"}
    )
    tree, draft = drafted(pb.FormHint(property="column", widget=pb.WIDGET_SELECT, options=options))
    column = next(field for field in tree.fields if field.name == "column")
    assert column.source == OptionSource("list-columns", "/id", "/name", inputs=(("board_id", "board"),))
    drawn = control(json.loads(draft.appsmith), "column")
    assert drawn["controlType"] == "DROP_DOWN"
    config = drawn["conditionals"]["fetchDynamicValues"]["config"]
    assert config["params"]["parameters"] == {"board_id": "{{actionConfiguration.formData.ACME_CREATE.board}}"}
