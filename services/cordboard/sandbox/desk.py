"""The desk itself: tickets, contacts, attachments, and the events that tell what happened to them. All in memory."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cordboard.sandbox.refusals import Conflict, Invalid, NotFound, Violation


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A request that a contact has raised."""

    id: str
    subject: str
    requester_id: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    status: str = "open"
    priority: str = "normal"
    assignee: str | None = None
    tags: tuple[str, ...] = ()
    due_on: str | None = None
    custom_fields: Mapping[str, Any] = field(default_factory=dict)
    attachment_count: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns the document's `Ticket`."""
        return {
            "id": self.id,
            "subject": self.subject,
            "description": self.description,
            "status": self.status,
            "priority": self.priority,
            "requester_id": self.requester_id,
            "assignee": self.assignee,
            "tags": self.tags,
            "due_on": self.due_on,
            "custom_fields": self.custom_fields,
            "attachment_count": self.attachment_count,
            "created_at": _moment(self.created_at),
            "updated_at": _moment(self.updated_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person who raises tickets."""

    id: str
    name: str
    email: str
    created_at: datetime
    phone: str | None = None
    company: str | None = None
    vip: bool = False
    address: Mapping[str, str | None] | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the document's `Contact`."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "phone": self.phone,
            "company": self.company,
            "vip": self.vip,
            "address": self.address,
            "created_at": _moment(self.created_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that belongs to a ticket."""

    id: str
    ticket_id: str
    filename: str
    content_type: str
    content: bytes = field(repr=False)
    description: str | None
    created_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Returns the document's `Attachment`, which leaves the bytes out."""
        return {
            "id": self.id,
            "ticket_id": self.ticket_id,
            "filename": self.filename,
            "content_type": self.content_type,
            "size": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "description": self.description,
            "created_at": _moment(self.created_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at the desk."""

    id: str
    type: str
    subject_id: str
    actor: str
    at: datetime
    changes: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns the document's `Event`."""
        return {
            "id": self.id,
            "type": self.type,
            "subject_id": self.subject_id,
            "actor": self.actor,
            "at": _moment(self.at),
            "changes": self.changes,
        }


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a desk begins with, each list in the order of its ids."""

    contacts: list[Contact] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def new_id(kind: str, number: int) -> str:
    """Returns the id of the `number`th record of a kind; ids sort in the order in which they are given."""
    return f"{kind}_{number:08d}"


class Desk:
    """Keeps the records, and notes every change as an event."""

    def __init__(self, records: Records, now: Callable[[], datetime]) -> None:
        self._now = now
        self._contacts = {each.id: each for each in records.contacts}
        self._emails = {each.email.lower() for each in records.contacts}
        self._tickets = {each.id: each for each in records.tickets}
        self._ticket_ids = [each.id for each in records.tickets]
        self._attachments = {each.id: each for each in records.attachments}
        self._events = list(records.events)
        # Ids are never given twice, not even that of a deleted record.
        self._last_ticket, self._last_attachment = len(records.tickets), len(records.attachments)

    def tickets(
        self,
        *,
        after: str = "",
        status: Collection[str] | None = None,
        priority: str | None = None,
        requester_id: str | None = None,
        tag: str | None = None,
        created_after: datetime | None = None,
        q: str | None = None,
    ) -> Iterator[Ticket]:
        """Yields the tickets behind the id `after` that pass every filter, in the order in which they were raised."""
        words = None if q is None else q.lower()
        for index in range(bisect_right(self._ticket_ids, after), len(self._ticket_ids)):
            ticket = self._tickets[self._ticket_ids[index]]
            if (
                (status is None or ticket.status in status)
                and (priority is None or ticket.priority == priority)
                and (requester_id is None or ticket.requester_id == requester_id)
                and (tag is None or tag in ticket.tags)
                and (created_after is None or ticket.created_at > created_after)
                and (words is None or words in f"{ticket.subject}\n{ticket.description or ''}".lower())
            ):
                yield ticket

    def ticket(self, ticket_id: str) -> Ticket:
        """Returns the ticket; raises NotFound."""
        found = self._tickets.get(ticket_id)
        if found is None:
            raise NotFound("ticket", ticket_id)
        return found

    def create_ticket(self, fields: Mapping[str, Any], *, actor: str) -> Ticket:
        """Raises a ticket and returns it; raises Invalid when the contact is not known."""
        if fields["requester_id"] not in self._contacts:
            raise Invalid(Violation("requester_id", "is not the id of a contact"))
        self._last_ticket += 1
        now = self._now()
        ticket = Ticket(**_kept(fields), id=new_id("tkt", self._last_ticket), created_at=now, updated_at=now)
        self._tickets[ticket.id] = ticket
        self._ticket_ids.append(ticket.id)
        self._note("ticket.created", ticket.id, actor, {"subject": ticket.subject})
        return ticket

    def update_ticket(self, ticket_id: str, changes: Mapping[str, Any], *, actor: str) -> Ticket:
        """Changes the given fields and returns the ticket; raises NotFound, or Conflict when it is closed."""
        before = self.ticket(ticket_id)
        if before.status == "closed":
            raise Conflict("a closed ticket does not change any more")
        after = replace(before, **_kept(changes), updated_at=self._now())
        self._tickets[ticket_id] = after
        self._note("ticket.updated", ticket_id, actor, changes)
        return after

    def delete_ticket(self, ticket_id: str, *, actor: str) -> None:
        """Deletes the ticket with its attachments; raises NotFound."""
        self.ticket(ticket_id)
        for attachment in self.attachments(ticket_id):
            del self._attachments[attachment.id]
        del self._tickets[ticket_id]
        del self._ticket_ids[bisect_left(self._ticket_ids, ticket_id)]
        self._note("ticket.deleted", ticket_id, actor, {})

    def contacts(self, *, company: str | None = None, vip: bool | None = None, q: str | None = None) -> list[Contact]:
        """Returns the contacts that pass every filter, in the order in which they were added."""
        words = None if q is None else q.lower()
        return [
            contact
            for contact in self._contacts.values()
            if (company is None or contact.company == company)
            and (vip is None or contact.vip == vip)
            and (words is None or words in f"{contact.name}\n{contact.email}".lower())
        ]

    def contact(self, contact_id: str) -> Contact:
        """Returns the contact; raises NotFound."""
        found = self._contacts.get(contact_id)
        if found is None:
            raise NotFound("contact", contact_id)
        return found

    def create_contact(self, fields: Mapping[str, Any], *, actor: str) -> Contact:
        """Adds a contact and returns it; raises Conflict when another one has the e-mail address."""
        if fields["email"].lower() in self._emails:
            raise Conflict("another contact has this e-mail address")
        contact = Contact(**fields, id=new_id("con", len(self._contacts) + 1), created_at=self._now())
        self._contacts[contact.id] = contact
        self._emails.add(contact.email.lower())
        self._note("contact.created", contact.id, actor, {"name": contact.name})
        return contact

    def attachments(self, ticket_id: str) -> list[Attachment]:
        """Returns the attachments of the ticket, oldest first; raises NotFound."""
        if self.ticket(ticket_id).attachment_count == 0:
            return []
        return [each for each in self._attachments.values() if each.ticket_id == ticket_id]

    def attachment(self, attachment_id: str) -> Attachment:
        """Returns the attachment; raises NotFound."""
        found = self._attachments.get(attachment_id)
        if found is None:
            raise NotFound("attachment", attachment_id)
        return found

    def attach(
        self, ticket_id: str, content: bytes, *, filename: str, content_type: str, description: str | None, actor: str
    ) -> Attachment:
        """Adds a file to the ticket and returns the attachment; raises NotFound."""
        ticket = self.ticket(ticket_id)
        self._last_attachment += 1
        attachment = Attachment(
            id=new_id("att", self._last_attachment),
            ticket_id=ticket_id,
            filename=filename,
            content_type=content_type,
            content=content,
            description=description,
            created_at=self._now(),
        )
        self._attachments[attachment.id] = attachment
        self._tickets[ticket_id] = replace(ticket, attachment_count=ticket.attachment_count + 1)
        self._note("attachment.uploaded", attachment.id, actor, {"ticket_id": ticket_id, "filename": filename})
        return attachment

    def events(self, *, type: str | None = None) -> list[Event]:  # noqa: A002  the name of the query parameter
        """Returns the events of the type (of every type when None), oldest first."""
        return self._events if type is None else [event for event in self._events if event.type == type]

    def _note(self, kind: str, subject_id: str, actor: str, changes: Mapping[str, Any]) -> None:
        number = len(self._events) + 1
        self._events.append(
            Event(
                id=new_id("evt", number),
                type=kind,
                subject_id=subject_id,
                actor=actor,
                at=self._now(),
                changes=dict(changes),
            )
        )


def _kept(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields as a ticket keeps them: frozen, as the caller may still hold the list."""
    return {name: tuple(value) if name == "tags" else value for name, value in fields.items()}
