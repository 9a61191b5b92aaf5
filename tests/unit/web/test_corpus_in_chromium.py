"""Forms of real API descriptions in a real browser: a few of each. `python -m tests.scale drawn` has all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cordboard.catalog.openapi import import_document
from cordboard.core.errors import DocumentInvalid
from cordboard.uqi.drafts import Draft, Draftsman
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.unit.web.parity import trial

pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

FOLDER = Path(os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "missing"))
DOCUMENTS = sorted(path for path in FOLDER.glob("*") if path.suffix in (".json", ".yaml", ".yml"))
# A larger one takes seconds to import; `python -m tests.scale drawn` has them all.
LARGEST = 600_000


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.stat().st_size < LARGEST], ids=lambda path: path.stem
)
def test_forms_are_drawn_and_give_back_what_is_filled_in(drawn: Browser, path: Path) -> None:
    try:
        draftsman = Draftsman(import_document(path.read_text()).definition)
    except DocumentInvalid:
        return  # no forms are promised for what the Catalog refuses
    ids = draftsman.ids()
    for draft in draftsman.drafts(sorted({ids[0], ids[len(ids) // 2], ids[-1]})):
        assert isinstance(draft, Draft)
        request, wrong = trial(draft)
        (found,) = drawn(request)
        assert wrong(found) == [], draft.id
