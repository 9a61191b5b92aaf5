"""The Python client: typed stubs of every public service behind one connection, with errors that say what to do.

    async with Client("localhost:8443", token=token, ca_file="ca.crt") as mesh:
        ticket = await mesh.execute("workspaces/acme/connections/desk", "create_ticket", {"subject": "Hello"})
        async for page in mesh.pages("workspaces/acme/connections/desk", "list_tickets"):
            ...
        connections = await list_all(mesh.connections.ListConnections, ListConnectionsRequest(parent="workspaces/acme"))

Needs no more than `pip install cordboard`.
"""

from __future__ import annotations

from cordboard.client.connection import Client, Result, staleness
from cordboard.client.errors import (
    AccessDenied,
    AlreadyExists,
    Conflict,
    CordboardError,
    DeadlineExceeded,
    Fault,
    Indeterminate,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    ReconnectRequired,
    SwitchedOff,
    Unauthenticated,
    Unavailable,
    VendorError,
    Violation,
)
from cordboard.client.paging import list_all

__all__ = [
    "Client",
    "Result",
    "list_all",
    "staleness",
    "CordboardError",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "InvalidRequest",
    "Violation",
    "Unauthenticated",
    "AccessDenied",
    "SwitchedOff",
    "ReconnectRequired",
    "LimitExceeded",
    "Unavailable",
    "VendorError",
    "DeadlineExceeded",
    "Indeterminate",
    "Fault",
]
