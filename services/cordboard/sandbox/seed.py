"""The records that a fresh desk has: the same for the same seed, on every machine."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import product

from cordboard.sandbox.desk import Attachment, Contact, Event, Records, Ticket, new_id

CONTACTS, TICKETS, ATTACHMENTS, EVENTS = 60, 120, 3, 90

_FIRST_DAY = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_GIVEN = ("Ada", "Alan", "Barbara", "Dennis", "Edsger", "Frances", "Grace", "Hedy", "Ken", "Margaret")
_FAMILY = ("Lopez", "Nakamura", "Okafor", "Petrov", "Schmidt", "Tanaka")
_COMPANIES = ("Globex", "Initech", "Hooli", "Umbrella Foods", "Stark Tools", None)
_CITIES = (("London", "GB"), ("Lagos", "NG"), ("Osaka", "JP"), ("Lyon", "FR"), ("Austin", "US"))
_AGENTS = ("ada@acmedesk.example", "grace@acmedesk.example", None)
_THINGS = ("invoice", "export", "password reset", "webhook", "report", "import", "dashboard", "mobile app")
_TROUBLES = ("is wrong", "does not arrive", "takes minutes", "shows an error", "stopped on Monday")
_TAGS = ("billing", "api", "bug", "question", "onboarding", "security")


def records(seed: int) -> Records:
    """Returns the opening records for `seed`."""
    # No secret depends on it: the same numbers every time are the point.
    chance = random.Random(seed)  # noqa: S311
    contacts = [_contact(number, chance) for number in range(1, CONTACTS + 1)]
    tickets = [_ticket(number, chance) for number in range(1, TICKETS + 1)]
    attachments = [_attachment(number) for number in range(1, ATTACHMENTS + 1)]
    return Records(contacts=contacts, tickets=tickets, attachments=attachments, events=_events(tickets, chance))


def _contact(number: int, chance: random.Random) -> Contact:
    given, family = [*product(_GIVEN, _FAMILY)][number - 1]
    city, country = chance.choice(_CITIES)
    return Contact(
        id=new_id("con", number),
        name=f"{given} {family}",
        email=f"{given}.{family}@customers.example".lower(),
        phone=chance.choice([None, f"+44 20 7946 {number:04d}"]),
        company=chance.choice(_COMPANIES),
        vip=chance.random() < 0.15,
        address=chance.choice([None, {"street": None, "city": city, "postal_code": None, "country": country}]),
        created_at=_FIRST_DAY - timedelta(days=CONTACTS - number),
    )


def _ticket(number: int, chance: random.Random) -> Ticket:
    created_at = _FIRST_DAY + timedelta(hours=5 * number, minutes=chance.randrange(240))
    thing, trouble = chance.choice(_THINGS), chance.choice(_TROUBLES)
    return Ticket(
        id=new_id("tkt", number),
        subject=f"The {thing} {trouble}",
        description=chance.choice([None, f"Since yesterday the {thing} {trouble}. Please help."]),
        status=chance.choices(["open", "pending", "solved", "closed"], weights=[4, 2, 3, 1])[0],
        priority=chance.choices(["low", "normal", "high", "urgent"], weights=[2, 5, 2, 1])[0],
        requester_id=new_id("con", chance.randint(1, CONTACTS)),
        assignee=chance.choice(_AGENTS),
        tags=tuple(chance.sample(_TAGS, chance.randint(0, 3))),
        due_on=chance.choice([None, (created_at + timedelta(days=7)).date().isoformat()]),
        attachment_count=1 if number <= ATTACHMENTS else 0,
        created_at=created_at,
        updated_at=created_at + timedelta(minutes=chance.randrange(240)),
    )


def _attachment(number: int) -> Attachment:
    return Attachment(
        id=new_id("att", number),
        ticket_id=new_id("tkt", number),
        filename=f"log-{number}.txt",
        content_type="text/plain",
        content=f"line 1 of log {number}\nline 2 of log {number}\n".encode(),
        description=f"The log of ticket {number}",
        created_at=_FIRST_DAY + timedelta(hours=5 * number + 4),
    )


def _events(tickets: list[Ticket], chance: random.Random) -> list[Event]:
    """Returns the events of the newest tickets: each was created, and some changed afterwards."""
    told: list[tuple[datetime, str, Ticket]] = []
    for ticket in tickets:
        told.append((ticket.created_at, "ticket.created", ticket))
        if ticket.status != "open":
            told.append((ticket.updated_at, "ticket.updated", ticket))
    told.sort(key=lambda each: (each[0], each[2].id))
    return [
        Event(
            id=new_id("evt", number),
            type=kind,
            subject_id=ticket.id,
            actor=chance.choice(_AGENTS[:2]) or "",
            at=at,
            changes={"subject": ticket.subject} if kind == "ticket.created" else {"status": ticket.status},
        )
        for number, (at, kind, ticket) in enumerate(told[-EVENTS:], start=1)
    ]
