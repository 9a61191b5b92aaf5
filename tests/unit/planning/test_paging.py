"""The next page, for each way of paging, and where pages end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.planning.answers import Answer
from cordboard.planning.paging import Pages, Step, next_link
from cordboard.planning.pointers import pointed

URL = "https://api.example/v1/items"
CURSOR = pb.Paging(items_pointer="/data", cursor=pb.CursorPaging(cursor_property="after", next_pointer="/meta/next"))
PAGE = pb.Paging(items_pointer="", page=pb.PagePaging(page_property="page", size_property="size", first_page=1))
OFFSET = pb.Paging(items_pointer="", offset=pb.OffsetPaging(offset_property="skip", limit_property="limit"))
LINK = pb.Paging(items_pointer="", link=pb.LinkPaging())
NEXT = pb.Paging(items_pointer="/data", next_url=pb.NextUrlPaging(next_pointer="/next"))


def pages(paging: pb.Paging | None, **values: Any) -> Pages:
    return Pages(paging, values, "workspaces/acme/connections/main")


def after(walk: Pages, document: Any, *, link: str = "", url: str = URL, **headers: str) -> Step | None:
    items = walk.items(document)
    assert items is not None
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    answer = Answer(200, body=orjson.dumps(document), link=link, headers=named)
    return walk.following(document, items, answer, url=url)


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", {"a": {"b": [1, {"c": 2}]}, "x/y": 3, "m~n": 4, "": 5}),
        ("/a/b/1/c", 2),
        ("/a/b/0", 1),
        ("/x~1y", 3),
        ("/m~0n", 4),
        ("/", 5),
        ("/a/b/2", None),
        ("/a/b/-1", None),
        ("/a/b/x", None),
        ("/nowhere/at/all", None),
    ],
)
def test_a_pointer_leads_where_rfc_6901_says(pointer: str, expected: Any) -> None:
    assert pointed({"a": {"b": [1, {"c": 2}]}, "x/y": 3, "m~n": 4, "": 5}, pointer) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ""),
        ('<https://a.example/2>; rel="next"', "https://a.example/2"),
        ("<https://a.example/2>; rel=next", "https://a.example/2"),
        ('</p?page=1>; rel="prev", </p?page=3>; rel="next"; title="a, b"', "/p?page=3"),
        ('<x>; rel="first"; title="rel=next", <y>; REL="last Next"', "y"),
        ('<x>; rel="prev"', ""),
        ("<x>", ""),
        ("rubbish", ""),
        ('<x; rel="next"', ""),
        ('<x>; rel="nextish"', ""),
    ],
)
def test_the_next_link_is_found_as_rfc_8288_writes_it(header: str, expected: str) -> None:
    assert next_link(header) == expected


@given(st.text(st.sampled_from('<>;,="relnxt \\'), max_size=60))
def test_no_link_header_can_break_its_reader(header: str) -> None:
    assert isinstance(next_link(header), str)


def test_a_cursor_is_sent_back_until_there_is_none() -> None:
    walk = pages(CURSOR, limit=2)
    assert walk.first() == {"limit": 2}
    assert after(walk, {"data": [1], "meta": {"next": "c1"}}) == Step(given={"limit": 2, "after": "c1"})
    assert after(walk, {"data": [], "meta": {"next": "c2"}}) == Step(given={"limit": 2, "after": "c2"})
    assert after(walk, {"data": [2], "meta": {"next": None}}) is None


@pytest.mark.parametrize("end", [{"next": None}, {"next": ""}, {"next": False}, {}, {"next": {}}])
def test_a_cursor_that_says_nothing_is_the_end(end: dict[str, Any]) -> None:
    assert after(pages(CURSOR), {"data": [1], "meta": end}) is None


@pytest.mark.parametrize("second", ["c1", "begin"])
def test_a_cursor_that_comes_again_is_a_circle(second: str) -> None:
    walk = pages(CURSOR, after="begin")
    assert after(walk, {"data": [1], "meta": {"next": "c1"}}) is not None
    with pytest.raises(StateConflict) as refused:
        after(walk, {"data": [1], "meta": {"next": second}})
    assert refused.value.metadata["state"] == "paging_circle"


def test_pages_are_counted_until_one_is_empty() -> None:
    walk = pages(PAGE)
    assert walk.first() == {"page": 1}
    assert after(walk, [1, 2]) == Step(given={"page": 2})
    assert after(walk, [3]) == Step(given={"page": 3})
    assert after(walk, []) is None


def test_a_short_page_after_a_full_one_is_the_last() -> None:
    walk = pages(PAGE, page=3, size=2)
    assert walk.first() == {"page": 3, "size": 2}
    assert after(walk, [1, 2]) == Step(given={"page": 4, "size": 2})
    assert after(walk, [3]) is None


def test_a_first_page_shorter_than_asked_for_may_be_all_that_the_vendor_gives_at_once() -> None:
    walk = pages(PAGE, size=500)
    walk.first()
    assert after(walk, [1, 2]) == Step(given={"page": 2, "size": 500})


def test_a_vendor_that_takes_no_notice_of_the_page_goes_in_a_circle() -> None:
    walk = pages(PAGE)
    walk.first()
    assert after(walk, [1, 2]) is not None
    assert after(walk, [1, 2]) is not None
    with pytest.raises(StateConflict):
        after(walk, [1, 2])


def test_an_offset_grows_by_what_came() -> None:
    walk = pages(OFFSET, limit=2)
    assert walk.first() == {"limit": 2}
    assert after(walk, [1, 2]) == Step(given={"limit": 2, "skip": 2})
    assert after(walk, [3, 4]) == Step(given={"limit": 2, "skip": 4})
    assert after(walk, [5]) is None


def test_links_are_followed_wherever_they_point_from() -> None:
    walk = pages(LINK)
    assert after(walk, [1], link='<?page=2>; rel="next"') == Step(url=f"{URL}?page=2")
    assert after(walk, [1], link='</other#x>; rel="next"', url=f"{URL}?page=2") == Step(url="https://api.example/other")
    assert after(walk, [1], link='<x>; rel="prev"') is None


@pytest.mark.parametrize("target", [URL, "items", f"{URL}#again"])
def test_a_link_to_where_one_is_is_a_circle(target: str) -> None:
    with pytest.raises(StateConflict):
        after(pages(LINK), [1], link=f'<{target}>; rel="next"')


def test_a_link_that_is_no_url_leads_nowhere() -> None:
    with pytest.raises(EgressDenied):
        after(pages(LINK), [1], link='<http://[>; rel="next"')


def test_the_next_url_is_read_from_the_page() -> None:
    walk = pages(NEXT)
    assert after(walk, {"data": [1], "next": "/v1/items?p=2"}) == Step(url=f"{URL}?p=2")
    assert after(walk, {"data": [1], "next": None}) is None
    assert after(walk, {"data": [1], "next": 7}) is None


def test_without_paging_there_is_one_page_whatever_it_is() -> None:
    assert pages(None).items([1, 2]) == [1, 2]
    assert pages(None).items({"a": 1}) == [{"a": 1}]
    assert after(pages(None), {"a": 1}) is None


def test_a_place_for_items_that_holds_no_list_is_told_apart_from_an_empty_list() -> None:
    assert pages(CURSOR).items({"data": {}}) is None
    assert pages(CURSOR).items({}) is None
    assert pages(CURSOR).items({"data": []}) == []


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 9))
def test_walking_by_offset_reads_every_item_once(count: int, asked: int, most: int) -> None:
    """The vendor gives at most `most` at once, whatever is asked for."""
    everything, size = list(range(count)), min(asked, most)
    walk, read = pages(OFFSET, limit=asked), list[int]()
    step: Step | None = Step(given=walk.first())
    while step is not None and step.given is not None:
        begin = step.given.get("skip", 0)
        items = everything[begin : begin + size]
        read += items
        step = after(walk, items)
    assert read == everything


LAST = pb.Paging(
    items_pointer="/data",
    last_item=pb.LastItemPaging(cursor_property="after", item_pointer="/id"),
    more_pointer="/has_more",
)
HEADER = pb.Paging(items_pointer="", cursor=pb.CursorPaging(cursor_property="after", next_header="X-Next"))
COUNTED = pb.Paging(
    items_pointer="/data", page=pb.PagePaging(page_property="page", first_page=1, page_count_pointer="/pages")
)
FROM_ZERO = pb.Paging(items_pointer="/data", page=pb.PagePaging(page_property="page", page_count_pointer="/pages"))
TOTAL = pb.Paging(
    items_pointer="/data",
    offset=pb.OffsetPaging(offset_property="skip", limit_property="limit", total_pointer="/total"),
)
MORE = pb.Paging(
    items_pointer="/data",
    page=pb.PagePaging(page_property="page", size_property="size", first_page=1),
    more_pointer="/more",
)


def listed(*ids: int, **members: Any) -> dict[str, Any]:
    return {"data": [{"id": one} for one in ids], **members}


def test_what_names_the_last_item_is_sent_back_until_the_vendor_says_that_there_is_no_more() -> None:
    walk = pages(LAST, limit=2)
    assert after(walk, listed(1, 2, has_more=True)) == Step(given={"limit": 2, "after": 2})
    assert after(walk, listed(3, 4, has_more=True)) == Step(given={"limit": 2, "after": 4})
    assert after(walk, listed(5, has_more=False)) is None


def test_without_a_word_of_more_an_empty_page_is_the_last() -> None:
    walk = pages(LAST)
    assert after(walk, listed(1)) == Step(given={"after": 1})
    assert after(walk, listed()) is None


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": {}}, "text"])
def test_a_last_item_without_a_name_is_the_end(item: Any) -> None:
    assert after(pages(LAST), {"data": [item]}) is None


def test_a_vendor_that_takes_no_notice_of_the_last_item_goes_in_a_circle() -> None:
    walk = pages(LAST)
    assert after(walk, listed(1, 2, has_more=True)) is not None
    with pytest.raises(StateConflict):
        after(walk, listed(1, 2, has_more=True))
    with pytest.raises(StateConflict):
        after(pages(LAST, after=2), listed(1, 2, has_more=True))


def test_a_cursor_may_come_in_a_header() -> None:
    walk = pages(HEADER)
    assert after(walk, [1], x_next="c1") == Step(given={"after": "c1"})
    assert after(walk, [2], x_next="") is None
    assert after(walk, [2]) is None
    with pytest.raises(StateConflict):
        after(walk, [2], x_next="c1")


def test_a_page_count_ends_the_pages_and_nothing_else_does() -> None:
    walk = pages(COUNTED)
    walk.first()
    assert after(walk, listed(1, pages=3)) == Step(given={"page": 2})
    assert after(walk, listed(pages=3)) == Step(given={"page": 3})
    assert after(walk, listed(2, pages=3)) is None
    zero = pages(FROM_ZERO)
    zero.first()
    assert after(zero, listed(1, pages=2)) == Step(given={"page": 1})
    assert after(zero, listed(2, pages=2)) is None


def test_a_page_count_that_a_vendor_does_not_give_counts_for_nothing() -> None:
    walk = pages(COUNTED)
    walk.first()
    assert after(walk, listed(1, pages="many")) == Step(given={"page": 2})
    assert after(walk, listed()) is None


def test_a_total_ends_the_offsets() -> None:
    walk = pages(TOTAL, limit=2)
    assert after(walk, listed(1, 2, total=3)) == Step(given={"limit": 2, "skip": 2})
    assert after(walk, listed(3, total=3)) is None
    assert after(pages(TOTAL, limit=2), listed(total=3)) is None


def test_a_vendor_that_says_that_there_is_more_is_believed_even_of_a_short_page() -> None:
    walk = pages(MORE, size=2)
    walk.first()
    assert after(walk, listed(1, 2, more=True)) == Step(given={"size": 2, "page": 2})
    assert after(walk, listed(3, more=True)) == Step(given={"size": 2, "page": 3})
    assert after(walk, listed(4, 5, more="False")) is None


def test_in_xml_one_item_is_a_list_of_one() -> None:
    assert pages(CURSOR).items({"data": {"id": "1"}}, single=True) == [{"id": "1"}]
    assert pages(CURSOR).items({"data": None}, single=True) == []
    assert pages(CURSOR).items({"data": [1]}, single=True) == [1]


@given(st.lists(st.integers(1, 5), max_size=12), st.booleans())
def test_walking_by_the_last_item_reads_every_item_once(sizes: list[int], says: bool) -> None:
    """The vendor gives as many items at once as it likes, and may or may not say whether there are more."""
    everything = list(range(1, sum(sizes) + 1))
    left = iter(sizes)
    walk, read = pages(LAST), list[int]()
    step: Step | None = Step(given=walk.first())
    while step is not None and step.given is not None:
        begin = step.given.get("after", 0)
        page = everything[begin : begin + next(left, 1)]
        read += page
        step = after(walk, listed(*page, **({"has_more": len(read) < len(everything)} if says else {})))
    assert read == everything
