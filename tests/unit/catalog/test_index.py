"""What is found by words, against a search that looks at everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.index import MAX_WORDS, Index, words_of
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.core.errors import InvalidFields

PIECES = st.sampled_from(["pay", "payment", "Straße", "list", "İD", "a", "_2", "-", "/", "{id}", "é", "漢字"])
TEXTS = st.lists(PIECES, max_size=4).map("".join)
SLUGS = st.sampled_from(["alpha", "beta-pay", "gamma"])
ACTIONS = st.lists(TEXTS, max_size=3)
QUERIES = st.lists(TEXTS, max_size=3).map(" ".join)


def listing(ids: list[str]) -> bytes:
    """Returns the actions of an integration as the snapshot keeps them."""
    return pb.ListActionsResponse(actions=[pb.ActionSummary(id=one) for one in sorted(ids)]).SerializeToString()


def found(index: Index, slugs: set[str], words: list[str]) -> set[tuple[str, str]]:
    """Returns what a search in these integrations finds."""
    return {(slug, one.id) for slug in slugs for one in index.found(slug, words)}


@given(puts=st.lists(st.tuples(SLUGS, TEXTS, ACTIONS), max_size=6), query=QUERIES)
def test_no_action_that_has_all_the_words_is_passed_over(puts: list[tuple[str, str, list[str]]], query: str) -> None:
    index, words = Index(), words_of(query)
    for slug, title, actions in puts:
        index.put(pb.Integration(name=f"integrations/{slug}", title=title), listing(actions), {})
    everywhere = {slug for slug, _, _ in puts}

    candidates = index.candidates(words)

    assert candidates <= everywhere
    assert found(index, candidates, words) == found(index, everywhere, words)


def test_what_no_action_has_leads_nowhere() -> None:
    index = Index()
    index.put(pb.Integration(name="integrations/stripe", title="Stripe"), listing(["list_charges"]), {})
    index.put(pb.Integration(name="integrations/zendesk", title="Zendesk"), listing(["list_tickets"]), {})

    assert index.candidates(["harges"]) == {"stripe"}
    assert index.candidates(["charges", "tickets"]) == set()
    assert index.candidates(["nothing-of-the-kind"]) == set()
    assert index.candidates(["_"]) == {"stripe", "zendesk"}


def test_an_integration_is_found_by_what_it_is_now() -> None:
    index = Index()
    index.put(pb.Integration(name="integrations/stripe"), listing(["list_charges"]), {})
    index.put(pb.Integration(name="integrations/stripe"), listing(["list_payments"]), {})

    assert found(index, index.candidates(["payments"]), ["payments"]) == {("stripe", "list_payments")}
    assert found(index, index.candidates(["charges"]), ["charges"]) == set()


def test_a_search_has_a_bounded_number_of_words() -> None:
    assert len(words_of("a " * MAX_WORDS)) == MAX_WORDS
    with pytest.raises(InvalidFields) as refusal:
        words_of("a " * (MAX_WORDS + 1))
    assert [one.field for one in refusal.value.violations] == ["query"]
