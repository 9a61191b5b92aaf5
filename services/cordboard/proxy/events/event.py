"""An event, and the address that webhooks come to: what is kept of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

DATA: Final = "event-data"
_WORD: Final = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is kept. What is sealed is for its own place only."""

    workspace_id: str
    number: int
    """Its offset; 0 until it is kept."""
    id: str
    connection: str
    integration: str
    version: str
    event_type: str
    environment: str
    ordering_key: str
    time: datetime
    receive_time: datetime
    data: bytes = field(repr=False)
    """Sealed JSON."""
    drift: str
    """Places, one on each line."""
    trace_id: str
    """Where it comes from, as `cordboard.proxy.origins` writes it."""

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/events/{self.number}"

    @property
    def place(self) -> str:
        """Returns what its data is sealed for."""
        return f"{self.connection}/{self.id}"

    @property
    def source(self) -> str:
        """Returns the CloudEvents source."""
        return f"/{self.connection}"

    @property
    def type(self) -> str:
        """Returns the CloudEvents type."""
        return f"cordboard.{self.integration}.{self.event_type}"

    @property
    def places(self) -> tuple[str, ...]:
        """Returns the places of its data that are not as the schema says."""
        return tuple(self.drift.split("\n")) if self.drift else ()

    @property
    def data_schema(self) -> str:
        """Returns the CloudEvents dataschema; empty where the definition does not know the type."""
        if "type" in self.places:
            return ""
        return f"/integrations/{self.integration}/versions/{self.version}/eventTypes/{self.event_type}"

    def cloud_event(self, data: bytes) -> bytes:
        """Returns it in the JSON format of CloudEvents 1.0, with its opened data."""
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "partitionkey": self.ordering_key,
            # The extension "sequence": texts that sort as numbers do.
            "sequence": f"{self.number:019d}",
        }
        if self.data_schema:
            attributes["dataschema"] = self.data_schema
        return orjson.dumps({**attributes, "data": orjson.Fragment(data)})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that webhooks come to. The address itself is known to its vendor alone."""

    workspace_id: str
    id: str
    connection: str
    integration: str
    environment: str
    token_hash: bytes = field(repr=False)
    """SHA-256 of the token in the address."""
    create_time: datetime

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/webhookEndpoints/{self.id}"


def keepable(text: str) -> str:
    """Returns a vendor's text as one that PostgreSQL keeps: JSON may say NUL, which no text there holds."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def word(text: str) -> str:
    """Returns a vendor's name of an event type as one that can be the last part of a type."""
    return _WORD.sub("-", text)[:128] or "unknown"
