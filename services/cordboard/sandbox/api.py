"""What each operation of the OpenAPI document does; each method has the name of its `operationId`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from cordboard.sandbox.access import Caller
from cordboard.sandbox.answers import Answer
from cordboard.sandbox.document import BASE_PATH
from cordboard.sandbox.paging import Cursor, links, page_count
from cordboard.sandbox.vendor import Vendor


@dataclass(frozen=True, slots=True)
class Call:
    """A request of an operation, after every check: values are of the types the document says."""

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart body."""

    filename: str
    content_type: str
    content: bytes


Act = Callable[[Call], Answer]


class Api:
    """Acts on the desk of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def acts(self) -> dict[str, Act]:
        """Returns every act by its `operationId`."""
        acts = (
            self.get_me,
            self.list_tickets, self.create_ticket, self.get_ticket, self.update_ticket, self.delete_ticket,
            self.list_attachments, self.upload_attachment, self.download_attachment,
            self.list_contacts, self.create_contact, self.get_contact,
            self.list_events,
        )  # fmt: skip
        return {act.__name__: act for act in acts}

    def get_me(self, call: Call) -> Answer:
        caller = call.caller
        return Answer.of(
            {
                "id": caller.id,
                "name": caller.name,
                "email": caller.email,
                "authenticated_by": caller.authenticated_by,
                "scopes": sorted(caller.scopes),
            }
        )

    def list_tickets(self, call: Call) -> Answer:
        filters = {name: value for name, value in call.query.items() if name not in {"cursor", "limit"}}
        limit, cursor = call.query["limit"], Cursor(filters)
        after = cursor.read(call.query["cursor"])
        if filters["created_after"] is not None:
            filters["created_after"] = datetime.fromisoformat(filters["created_after"].upper())
        found = [*islice(self._vendor.desk.tickets(after=after, **filters), limit + 1)]
        more = len(found) > limit
        return Answer.of(
            {
                "data": [ticket.as_json() for ticket in found[:limit]],
                "next_cursor": cursor.after(found[limit - 1].id) if more else None,
                "has_more": more,
            }
        )

    def create_ticket(self, call: Call) -> Answer:
        ticket = self._vendor.desk.create_ticket(call.body, actor=call.caller.id)
        return _created(ticket.as_json(), f"/tickets/{ticket.id}")

    def get_ticket(self, call: Call) -> Answer:
        return Answer.of(self._vendor.desk.ticket(call.path["ticket_id"]).as_json())

    def update_ticket(self, call: Call) -> Answer:
        ticket = self._vendor.desk.update_ticket(call.path["ticket_id"], call.body, actor=call.caller.id)
        return Answer.of(ticket.as_json())

    def delete_ticket(self, call: Call) -> Answer:
        self._vendor.desk.delete_ticket(call.path["ticket_id"], actor=call.caller.id)
        return Answer(204)

    def list_attachments(self, call: Call) -> Answer:
        attachments = self._vendor.desk.attachments(call.path["ticket_id"])
        return Answer.of({"data": [attachment.as_json() for attachment in attachments]})

    def upload_attachment(self, call: Call) -> Answer:
        file: Upload = call.body["file"]
        attachment = self._vendor.desk.attach(
            call.path["ticket_id"],
            file.content,
            filename=file.filename,
            content_type=file.content_type,
            description=call.body.get("description"),
            actor=call.caller.id,
        )
        return _created(attachment.as_json(), f"/attachments/{attachment.id}/content")

    def download_attachment(self, call: Call) -> Answer:
        attachment = self._vendor.desk.attachment(call.path["attachment_id"])
        name = quote(attachment.filename, errors="replace")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "X-Content-Type-Options": "nosniff"}
        return Answer(200, attachment.content, "application/octet-stream", headers)

    def list_contacts(self, call: Call) -> Answer:
        page, size = call.query["page"], call.query["per_page"]
        filters = {name: call.query[name] for name in ("company", "vip", "q")}
        found = self._vendor.desk.contacts(**filters)
        return Answer.of(
            {
                "data": [contact.as_json() for contact in found[(page - 1) * size : page * size]],
                "page": page,
                "per_page": size,
                "total": len(found),
                "total_pages": page_count(len(found), size),
            }
        )

    def create_contact(self, call: Call) -> Answer:
        contact = self._vendor.desk.create_contact(call.body, actor=call.caller.id)
        return _created(contact.as_json(), f"/contacts/{contact.id}")

    def get_contact(self, call: Call) -> Answer:
        return Answer.of(self._vendor.desk.contact(call.path["contact_id"]).as_json())

    def list_events(self, call: Call) -> Answer:
        offset, limit = call.query["offset"], call.query["limit"]
        found = self._vendor.desk.events(type=call.query["type"])
        url, kept = f"{self._vendor.url}{BASE_PATH}/events", {"type": call.query["type"]}
        return Answer.of(
            [event.as_json() for event in found[offset : offset + limit]],
            headers={
                "Link": links(url, kept, offset=offset, limit=limit, total=len(found)),
                "X-Total-Count": str(len(found)),
            },
        )


def _created(value: dict[str, Any], path: str) -> Answer:
    return Answer.of(value, status=201, headers={"Location": BASE_PATH + path})
