"""Tickets, contacts and attachments: what is written can be read, and what is wrong is refused by name."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any

import aiohttp
import pytest

from cordboard import sandbox
from cordboard.sandbox import seed
from tests.unit.sandbox.client import Client, Clock

REQUESTER = "con_00000001"
JSON = {"Content-Type": "application/json"}


def a_ticket(**changes: Any) -> dict[str, Any]:
    """Returns a good body for create_ticket, with changes."""
    return {"subject": "The printer is on fire", "requester_id": REQUESTER, **changes}


def a_file(content: bytes = b"hello", *, filename: str = "a.txt", description: str | None = None) -> aiohttp.FormData:
    """Returns a good body for upload_attachment."""
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename=filename, content_type="text/plain")
    if description is not None:
        form.add_field("description", description)
    return form


def test_the_same_seed_gives_the_same_records() -> None:
    assert seed.records(1) == seed.records(1)
    assert seed.records(1) != seed.records(2)


def test_the_opening_records_are_whole() -> None:
    records = seed.records(sandbox.Settings.seed)

    assert (len(records.contacts), len(records.tickets), len(records.events)) == (60, 120, 90)
    assert len({contact.email for contact in records.contacts}) == 60
    assert {ticket.requester_id for ticket in records.tickets} <= {contact.id for contact in records.contacts}
    assert {ticket.status for ticket in records.tickets} == {"open", "pending", "solved", "closed"}
    assert [event.at for event in records.events] == sorted(event.at for event in records.events)


async def test_a_ticket_is_created_read_changed_and_deleted(client: Client, clock: Clock) -> None:
    created = await client.post("/v1/tickets", a_ticket(tags=["hot"], custom_fields={"a": "b"}, due_on="2027-05-01"))
    path = created.headers["Location"]
    clock.now += 60
    changed = await client.call("PATCH", path, json={"status": "solved", "assignee": "grace@acmedesk.example"})

    assert created.status == 201
    assert path == f"/v1/tickets/{created.json['id']}"
    assert created.json["status"] == "open"
    assert created.json["priority"] == "normal"
    expected = {**created.json, "status": "solved", "assignee": "grace@acmedesk.example"}
    assert changed.json == {**expected, "updated_at": "2027-01-15T08:01:00Z"}
    assert (await client.get(path)).json == changed.json
    assert (await client.call("DELETE", path)).status == 204
    assert (await client.get(path)).status == 404


async def test_a_change_is_told_as_an_event(client: Client) -> None:
    path = (await client.post("/v1/tickets", a_ticket())).headers["Location"]
    await client.call("PATCH", path, json={"priority": "urgent"})

    told = (await client.get("/v1/events?offset=90")).json

    assert [(event["type"], event["changes"]) for event in told] == [
        ("ticket.created", {"subject": "The printer is on fire"}),
        ("ticket.updated", {"priority": "urgent"}),
    ]
    assert {event["actor"] for event in told} == {"key_00000001"}


async def test_an_id_is_not_given_a_second_time(client: Client) -> None:
    first = (await client.post("/v1/tickets", a_ticket())).json["id"]
    await client.call("DELETE", f"/v1/tickets/{first}")

    assert (await client.post("/v1/tickets", a_ticket())).json["id"] > first


async def test_a_closed_ticket_does_not_change(client: Client) -> None:
    path = (await client.post("/v1/tickets", a_ticket())).headers["Location"]
    await client.call("PATCH", path, json={"status": "closed"})

    answer = await client.call("PATCH", path, json={"status": "open"})

    assert (answer.status, answer.json["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"requester_id": REQUESTER}, "subject"),
        (a_ticket(subject=""), "subject"),
        (a_ticket(subject="x" * 201), "subject"),
        (a_ticket(subject=None), "subject"),
        (a_ticket(subject=5), "subject"),
        (a_ticket(priority="extreme"), "priority"),
        (a_ticket(requester_id="con_1"), "requester_id"),
        (a_ticket(requester_id="con_99999999"), "requester_id"),
        (a_ticket(assignee="grace"), "assignee"),
        (a_ticket(tags="hot"), "tags"),
        (a_ticket(tags=["hot", "hot"]), "tags"),
        (a_ticket(tags=["Hot"]), "tags[0]"),
        (a_ticket(due_on="tomorrow"), "due_on"),
        (a_ticket(custom_fields={"a": []}), "custom_fields.a"),
        (a_ticket(status="open"), "status"),
        (a_ticket(id="tkt_00000001"), "id"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
async def test_a_wrong_ticket_is_refused_by_field(client: Client, body: Any, field: str) -> None:
    # Written out here, as the client takes None for no body.
    answer = await client.call("POST", "/v1/tickets", json=body) if body is not None else await raw(client, b"null")

    assert (answer.status, answer.json["code"]) == (422, "invalid_field")
    assert [each["field"] for each in answer.json["fields"]] == [field]
    assert len((await client.get("/v1/events?offset=90")).json) == 0


async def test_all_that_is_wrong_is_told_at_once(client: Client) -> None:
    answer = await client.post("/v1/tickets", {"subject": "", "priority": "extreme", "colour": "red"})

    told = {each["field"]: each["message"] for each in answer.json["fields"]}
    assert told == {
        "requester_id": "is required",
        "subject": "must not be empty",
        "priority": "must be one of low, normal, high, urgent",
        "colour": "is not a field of this",
    }


async def test_a_change_without_a_field_is_refused(client: Client) -> None:
    answer = await client.call("PATCH", "/v1/tickets/tkt_00000001", json={})

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, "body")


async def raw(client: Client, body: bytes) -> Any:
    """Sends bytes that claim to be JSON to create_ticket."""
    headers = {**JSON, "X-Api-Key": client.vendor.settings.api_key}
    return await client.call("POST", "/v1/tickets", headers=headers, data=io.BytesIO(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        '{"subject": "ä"}'.encode("utf-16"),
        b'{"subject": NaN}',
        b'{"custom_fields": {"a": 1e999}}',
        b'{"subject": "a", "subject": "b"}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
async def test_a_body_that_is_not_json_is_refused(client: Client, body: bytes) -> None:
    answer = await raw(client, body)

    assert (answer.status, answer.json["code"]) == (400, "malformed")


async def test_a_body_of_another_media_type_is_refused(client: Client) -> None:
    headers = {"X-Api-Key": client.vendor.settings.api_key}
    as_text = await client.call("POST", "/v1/tickets", headers={**headers, "Content-Type": "text/plain"}, data=b"{}")
    as_form = await client.call("POST", "/v1/tickets", data={"subject": "x"})
    as_json = await client.post("/v1/tickets/tkt_00000001/attachments", {"file": "x"})

    assert [answer.status for answer in (as_text, as_form, as_json)] == [415, 415, 415]


async def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    in_json = await raw(client, b'"' + b"x" * (1024 * 1024) + b'"')
    path = "/v1/tickets/tkt_00000001/attachments"
    just_right = await client.call("POST", path, data=a_file(b"x" * 5 * 1024 * 1024))
    one_too_many = await client.call("POST", path, data=a_file(b"x" * (5 * 1024 * 1024 + 1)))

    assert (in_json.status, in_json.json["code"]) == (413, "too_large")
    assert just_right.status == 201
    assert (one_too_many.status, one_too_many.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("query", "keeps"),
    [
        ("status=open&status=pending", lambda ticket: ticket["status"] in {"open", "pending"}),
        ("priority=high", lambda ticket: ticket["priority"] == "high"),
        ("tag=billing", lambda ticket: "billing" in ticket["tags"]),
        ("requester_id=con_00000007", lambda ticket: ticket["requester_id"] == "con_00000007"),
        ("created_after=2026-01-25T00:00:00Z", lambda ticket: ticket["created_at"] > "2026-01-25T00:00:00Z"),
        ("created_after=2026-01-25T02:00:00%2B02:00", lambda ticket: ticket["created_at"] > "2026-01-25T00:00:00Z"),
        ("q=INVOICE", lambda ticket: "invoice" in f"{ticket['subject']}{ticket['description']}".lower()),
    ],
)
async def test_a_filter_keeps_what_it_says(client: Client, query: str, keeps: Any) -> None:
    first = (await client.get("/v1/tickets?limit=100")).json
    rest = (await client.get(f"/v1/tickets?limit=100&cursor={first['next_cursor']}")).json
    expected = [ticket for ticket in first["data"] + rest["data"] if keeps(ticket)]

    found = (await client.get(f"/v1/tickets?limit=100&{query}")).json["data"]

    assert found == expected[:100]
    assert 0 < len(found) < 120


async def test_a_contact_is_created_and_found(client: Client) -> None:
    body = {
        "name": "Zoë Ångström",
        "email": "zoe@lab.example",
        "phone": "+46 8 123 456",
        "company": "Lab",
        "vip": True,
        "address": {"city": "Lund", "country": "SE"},
    }
    created = await client.post("/v1/contacts", body)

    assert created.status == 201
    assert {name: created.json[name] for name in body} == body
    assert (await client.get(created.headers["Location"])).json == created.json
    for query in ("company=Lab", "q=ZO%C3%8B", "vip=true&q=lab.example"):
        assert (await client.get(f"/v1/contacts?{query}")).json["data"] == [created.json]


async def test_an_address_belongs_to_one_contact(client: Client) -> None:
    body = {"name": "A", "email": "a@b.example"}
    await client.post("/v1/contacts", body)

    again = await client.post("/v1/contacts", {**body, "email": "A@B.example"})

    assert (again.status, again.json["code"]) == (409, "conflict")


async def test_a_wrong_field_inside_an_address_is_named_by_its_path(client: Client) -> None:
    body = {"name": "A", "email": "a@b.example", "address": {"city": "C", "country": "Germany"}}

    answer = await client.post("/v1/contacts", body)

    assert [each["field"] for each in answer.json["fields"]] == ["address.country"]


async def test_a_file_comes_back_as_it_was_sent(client: Client) -> None:
    content = bytes(range(256)) * 500
    path = "/v1/tickets/tkt_00000050/attachments"
    sent = await client.call("POST", path, data=a_file(content, filename='Ré "sumé".txt', description="the CV"))

    got = await client.get(sent.headers["Location"])

    assert sent.status == 201
    assert sent.json["size"] == len(content)
    assert sent.json["sha256"] == hashlib.sha256(content).hexdigest()
    assert (sent.json["content_type"], sent.json["description"]) == ("text/plain", "the CV")
    assert got.content == content
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "\n" not in got.headers["Content-Disposition"]
    assert (await client.get(path)).json["data"] == [sent.json]
    assert (await client.get("/v1/tickets/tkt_00000050")).json["attachment_count"] == 1


async def test_the_files_of_a_ticket_go_with_it(client: Client) -> None:
    await client.call("DELETE", "/v1/tickets/tkt_00000001")

    assert (await client.get("/v1/attachments/att_00000001/content")).status == 404
    assert (await client.get("/v1/attachments/att_00000002/content")).status == 200


def form(*fields: tuple[str, str, str | None]) -> aiohttp.FormData:
    """Returns a multipart body of (name, value, filename)."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value, filename in fields:
        data.add_field(name, value, filename=filename)
    return data


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ([("description", "x", None)], "file"),
        ([("file", "x", None)], "file"),
        ([("file", "x", "a"), ("file", "y", "b")], "file"),
        ([("file", "x", "a"), ("description", "x", "b")], "description"),
        ([("file", "x", "a"), ("description", "x" * 201, None)], "description"),
        ([("file", "x", "a"), ("colour", "red", None)], "colour"),
    ],
)
async def test_a_wrong_upload_is_refused_by_field(
    client: Client, fields: list[tuple[str, str, str | None]], field: str
) -> None:
    answer = await client.call("POST", "/v1/tickets/tkt_00000001/attachments", data=form(*fields))

    assert answer.status == 422
    assert [each["field"] for each in answer.json["fields"]] == [field]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nno header at all"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nab',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\nabc\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="description"\r\n\r\n\xff\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=" + "x" * 100, b"--x--"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n\r\n--y--\r\n--x--\r\n",
        ),
    ],
)
async def test_a_multipart_body_that_breaks_off_is_refused(client: Client, content_type: str, body: bytes) -> None:
    headers = {"X-Api-Key": client.vendor.settings.api_key, "Content-Type": content_type}

    answer = await client.call("POST", "/v1/tickets/tkt_00000001/attachments", headers=headers, data=body)

    assert answer.status in {400, 422}
    assert answer.json["code"] in {"malformed", "invalid_field"}
    assert (await client.get("/v1/tickets/tkt_00000001")).json["attachment_count"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tickets/tkt_99999999",
        "/v1/tickets/x",
        "/v1/tickets/tkt_99999999/attachments",
        "/v1/contacts/con_99999999",
        "/v1/attachments/att_99999999/content",
        "/v1/nowhere",
        "/nowhere",
    ],
)
async def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    answer = await client.get(path)

    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


async def test_a_method_that_is_not_there_is_told(client: Client) -> None:
    answer = await client.call("PUT", "/v1/tickets/tkt_00000001")

    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(",")) == {"DELETE", "GET", "PATCH"}


async def test_no_malformed_input_makes_the_vendor_fail(client: Client) -> None:
    chance = random.Random(7)
    parts = [
        "null",
        "true",
        "[]",
        "{}",
        '"x"',
        "-1",
        "1e400",
        '"\\ud800"',
        "[[[",
        '{"a":',
        "\x00",
        "é",
        '"con_00000001"',
    ]
    names = ['"subject"', '"requester_id"', '"tags"', '"due_on"', '"custom_fields"', '"assignee"', '"x"']
    queries = ["limit", "cursor", "status", "q", "created_after", "page", "offset", "%ff", "a[b]"]
    values = ["", "1", "%00", "%ff", "ä", "1" * 30, "a,b", "true", "%F0%9F%98%80"]
    statuses = set()
    for _ in range(300):
        members = ",".join(f"{chance.choice(names)}:{chance.choice(parts)}" for _ in range(chance.randint(0, 4)))
        statuses.add((await raw(client, f"{{{members}}}".encode())).status)
        query = "&".join(f"{chance.choice(queries)}={chance.choice(values)}" for _ in range(chance.randint(1, 3)))
        statuses.add((await client.get(f"/v1/{chance.choice(['tickets', 'contacts', 'events'])}?{query}")).status)

    assert {400, 422} <= statuses
    assert max(statuses) < 500
