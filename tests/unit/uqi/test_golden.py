"""What forms look like changes only on purpose."""

from __future__ import annotations

import pytest

from tests.unit.uqi.golden import FOLDER, NAMES, text


@pytest.mark.parametrize("name", NAMES)
def test_a_form_has_the_documents_that_were_agreed_on(name: str) -> None:
    assert text(name) == (FOLDER / f"{name}.json").read_text()
