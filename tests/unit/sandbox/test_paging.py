"""Each of the three kinds of paging shows everything once, and ends."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from multidict import CIMultiDictProxy

from tests.unit.sandbox.client import Client

Walk = tuple[list[str], int]


async def tickets(client: Client, query: str = "", *, limit: int = 25) -> Walk:
    """Walks all pages by cursor; returns the ids, and how many pages there were."""
    ids: list[str] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        more = "" if cursor is None else f"&cursor={cursor}"
        page = (await client.get(f"/v1/tickets?limit={limit}{query}{more}")).json
        assert page["has_more"] == (page["next_cursor"] is not None)
        ids += [ticket["id"] for ticket in page["data"]]
        cursor = page["next_cursor"]
        pages += 1
        assert pages < 200
    return ids, pages


async def contacts(client: Client, query: str = "", *, per_page: int = 20) -> Walk:
    """Walks all pages by number."""
    ids: list[str] = []
    pages, last = 0, 1
    while pages < last:
        pages += 1
        page = (await client.get(f"/v1/contacts?page={pages}&per_page={per_page}{query}")).json
        ids += [contact["id"] for contact in page["data"]]
        last = page["total_pages"]
    assert page["total"] == len(ids)
    return ids, pages


def following(answer: Any, relation: str = "next") -> str | None:
    """Returns the target of the `Link` header with the relation."""
    headers: CIMultiDictProxy[str] = answer.headers
    for link in headers["Link"].split(", "):
        target, _, parameters = link.partition(">")
        if parameters == f'; rel="{relation}"':
            return target.removeprefix("<")
    return None


async def events(client: Client, query: str = "", *, limit: int = 30) -> Walk:
    """Walks all pages by `Link` header."""
    ids: list[str] = []
    pages, url = 0, f"/v1/events?limit={limit}{query}"
    while True:
        answer = await client.get(url)
        ids += [event["id"] for event in answer.json]
        pages += 1
        target = following(answer)
        if target is None:
            assert int(answer.headers["X-Total-Count"]) == len(ids)
            return ids, pages
        assert pages < 200
        url = target


@pytest.mark.parametrize(("limit", "pages"), [(1, 120), (7, 18), (25, 5), (40, 3), (100, 2)])
async def test_cursors_show_every_ticket_once(client: Client, limit: int, pages: int) -> None:
    ids, walked = await tickets(client, limit=limit)

    assert ids == [f"tkt_{number:08d}" for number in range(1, 121)]
    assert walked == pages


@pytest.mark.parametrize(("per_page", "pages"), [(1, 60), (7, 9), (20, 3), (50, 2)])
async def test_page_numbers_show_every_contact_once(client: Client, per_page: int, pages: int) -> None:
    ids, walked = await contacts(client, per_page=per_page)

    assert ids == [f"con_{number:08d}" for number in range(1, 61)]
    assert walked == pages


@pytest.mark.parametrize(("limit", "pages"), [(1, 90), (7, 13), (30, 3), (100, 1)])
async def test_links_show_every_event_once(client: Client, limit: int, pages: int) -> None:
    ids, walked = await events(client, limit=limit)

    assert ids == [f"evt_{number:08d}" for number in range(1, 91)]
    assert walked == pages


async def test_a_filter_holds_on_every_page(client: Client) -> None:
    everything = (await client.get("/v1/tickets?limit=100")).json["data"]
    rest = (await client.get("/v1/tickets?limit=100&created_after=" + everything[-1]["created_at"])).json["data"]
    urgent = [each["id"] for each in everything + rest if each["priority"] == "urgent"]

    assert (await tickets(client, "&priority=urgent", limit=2))[0] == urgent
    company, _ = await contacts(client, "&company=Globex", per_page=3)
    created, _ = await events(client, "&type=ticket.created", limit=7)
    assert 0 < len(company) < 60
    assert 0 < len(created) < 90


async def test_a_walk_ends_while_tickets_come_and_go(client: Client) -> None:
    seen: list[str] = []
    cursor: str | None = ""
    for number in range(30):
        more = f"&cursor={cursor}" if cursor else ""
        page = (await client.get(f"/v1/tickets?limit=10{more}")).json
        seen += [ticket["id"] for ticket in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        # The last one shown is what the cursor stands on.
        assert (await client.call("DELETE", f"/v1/tickets/{seen[-1]}")).status == 204
        await client.post("/v1/tickets", {"subject": f"new {number}", "requester_id": "con_00000001"})

    assert cursor is None
    assert len(seen) == len(set(seen))
    assert {f"tkt_{number:08d}" for number in range(1, 121)} <= set(seen)


async def test_a_cursor_works_only_with_the_filters_it_was_made_for(client: Client) -> None:
    cursor = (await client.get("/v1/tickets?limit=1&status=open")).json["next_cursor"]

    same = await client.get(f"/v1/tickets?limit=5&status=open&cursor={cursor}")
    other = await client.get(f"/v1/tickets?limit=5&status=solved&cursor={cursor}")

    assert same.status == 200
    assert (other.status, other.json["fields"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    "cursor", ["x", "!!!!", "YWJj", base64.urlsafe_b64encode(b"\xff\xfe").decode(), "%00", "a" * 257]
)
async def test_a_made_up_cursor_is_refused(client: Client, cursor: str) -> None:
    answer = await client.get(f"/v1/tickets?cursor={cursor}")

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, "cursor")


async def test_pages_beyond_the_last_are_empty(client: Client) -> None:
    assert (await client.get("/v1/contacts?page=99")).json["data"] == []
    beyond = await client.get("/v1/events?offset=1000&limit=30")
    assert beyond.json == []
    assert following(beyond) is None
    assert following(beyond, "prev") == f"{client.vendor.url}/v1/events?offset=60&limit=30"


async def test_links_lead_back_too_and_keep_the_filter(client: Client) -> None:
    answer = await client.get("/v1/events?offset=10&limit=20&type=ticket.created")

    previous = parse_qs(urlsplit(following(answer, "prev") or "").query)
    assert previous == {"type": ["ticket.created"], "offset": ["0"], "limit": ["20"]}
    assert following(answer, "first") is not None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tickets?limit=0", "limit"),
        ("tickets?limit=101", "limit"),
        ("tickets?limit=-1", "limit"),
        ("tickets?limit=ten", "limit"),
        ("tickets?limit=1.0", "limit"),
        ("tickets?limit=99999999999999999999", "limit"),
        ("tickets?limit=1&limit=2", "limit"),
        ("contacts?page=0", "page"),
        ("contacts?per_page=51", "per_page"),
        ("contacts?vip=yes", "vip"),
        ("events?offset=-1", "offset"),
        ("events?type=ticket.eaten", "type"),
        ("tickets?status=open&status=lost", "status[1]"),
        ("tickets?created_after=yesterday", "created_after"),
        ("tickets?created_after=2026-02-30T00:00:00Z", "created_after"),
        ("tickets?requester_id=tkt_00000001", "requester_id"),
        ("tickets?page=1", "page"),
        ("me?x=1", "x"),
    ],
)
async def test_a_wrong_query_names_the_parameter(client: Client, query: str, field: str) -> None:
    answer = await client.get(f"/v1/{query}")

    assert (answer.status, answer.json["code"]) == (422, "invalid_field")
    assert [each["field"] for each in answer.json["fields"]] == [field]
