"""The documents of a few forms as they were agreed on: `python -m tests.unit.uqi.golden` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from cordboard.uqi import json_forms, react
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.judges import tree_of
from tests.unit.uqi.samples import the_draft
from tests.unit.uqi.torture import CASES

FOLDER: Final = Path(__file__).parent / "golden"
NAMES: Final = ("scalars", "names", "unions", "cases")


def documents(name: str) -> dict[str, Any]:
    """Returns every document of a form, by its format."""
    draft = the_draft(CASES[name])
    tree = tree_of(draft)
    return {
        "document": MessageToDict(form_pb2.FormDocument.FromString(draft.document), preserving_proto_field_name=True),
        "json_schema": json.loads(draft.json_schema),
        "appsmith": json.loads(draft.appsmith),
        "json_forms": json_forms.project(tree).document,
        "react": react.project(tree).document,
    }


def text(name: str) -> str:
    """Returns the documents of a form as they stand in its file."""
    return json.dumps(documents(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        (FOLDER / f"{each}.json").write_text(text(each))
