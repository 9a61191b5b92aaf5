"""Definitions for the Proxy's tests: the sandbox vendor as a definition, and single actions with defaults."""

from __future__ import annotations

import json
from typing import Any

from cordboard.catalog.v1 import definition_pb2 as pb

SLUG = "acme-desk"
VERSION = "1.0.0"

PATH, QUERY, HEADER, COOKIE = (
    pb.PLACEMENT_PATH,
    pb.PLACEMENT_QUERY,
    pb.PLACEMENT_HEADER,
    pb.PLACEMENT_COOKIE,
)


def a_parameter(property_name: str, /, placement: pb.Placement.ValueType = QUERY, **fields: Any) -> pb.Parameter:
    """Makes a parameter that takes the property of its own name."""
    given: dict[str, Any] = {"property": property_name, "name": property_name, "placement": placement}
    return pb.Parameter(**given | fields)


def a_body(encoding: pb.BodyEncoding.ValueType = pb.BODY_ENCODING_JSON, *names: str, **fields: Any) -> pb.Body:
    """Makes a body whose members are the properties of these names."""
    return pb.Body(encoding=encoding, fields=[pb.BodyField(property=name, name=name) for name in names], **fields)


def an_action(
    action_id: str = "act",
    method: str = "GET",
    path: str = "/things",
    *parameters: pb.Parameter,
    schema: dict[str, Any] | None = None,
    body: pb.Body | None = None,
    **fields: Any,
) -> pb.Action:
    """Makes an action."""
    request = {name: fields.pop(name) for name in ("headers", "server_url") if name in fields}
    return pb.Action(
        id=action_id,
        input_schema_json=json.dumps(schema) if schema is not None else "",
        request=pb.RequestPlan(method=method, path=path, parameters=parameters, body=body, **request),
        **fields,
    )


def a_definition(*actions: pb.Action, url: str = "https://api.vendor.example/v1", **fields: Any) -> pb.Definition:
    """Makes a definition with one server, an API key in a header, and these actions."""
    given: dict[str, Any] = {
        "slug": SLUG,
        "version": VERSION,
        "title": "Vendor",
        "servers": [pb.Server(url=url)],
        "auth_schemes": [pb.AuthScheme(id="key", api_key=pb.ApiKey(placement=HEADER, name="X-Api-Key"))],
    }
    return pb.Definition(**given | fields, actions=actions)


def acme_desk(url: str, version: str = VERSION) -> pb.Definition:
    """Returns the sandbox vendor at `url` as a definition."""
    string, integer = {"type": "string"}, {"type": "integer"}
    paged = {
        "type": "object",
        "properties": {"cursor": string, "limit": integer, "status": {"type": "array", "items": string}},
    }
    return a_definition(
        an_action("get_me", path="/me"),
        an_action("get_ticket", "GET", "/tickets/{ticket_id}", a_parameter("ticket_id", PATH)),
        an_action(
            "list_tickets", "GET", "/tickets", *map(a_parameter, ("cursor", "limit", "status")),
            schema=paged,
            paging=pb.Paging(
                items_pointer="/data", cursor=pb.CursorPaging(cursor_property="cursor", next_pointer="/next_cursor")
            ),
        ),
        an_action(
            "list_contacts", "GET", "/contacts", *map(a_parameter, ("page", "per_page")),
            paging=pb.Paging(
                items_pointer="/data",
                page=pb.PagePaging(page_property="page", size_property="per_page", first_page=1),
            ),
        ),
        an_action(
            "list_events", "GET", "/events", *map(a_parameter, ("offset", "limit")),
            paging=pb.Paging(link=pb.LinkPaging()),
        ),
        an_action(
            "events_by_offset", "GET", "/events", *map(a_parameter, ("offset", "limit")),
            paging=pb.Paging(offset=pb.OffsetPaging(offset_property="offset", limit_property="limit")),
        ),
        an_action(
            "create_ticket", "POST", "/tickets",
            schema={
                "type": "object",
                "required": ["subject", "requester_id"],
                "properties": {"subject": {"type": "string", "minLength": 3}, "requester_id": string},
            },
            body=a_body(pb.BODY_ENCODING_JSON, "subject", "requester_id", required=True),
        ),
        an_action(
            "create_ticket_keyed", "POST", "/tickets",
            body=a_body(pb.BODY_ENCODING_JSON, "subject", "requester_id", required=True),
            idempotency_key_header="Idempotency-Key",
        ),
        an_action("delete_ticket", "DELETE", "/tickets/{ticket_id}", a_parameter("ticket_id", PATH)),
        an_action(
            "upload_attachment", "POST", "/tickets/{ticket_id}/attachments", a_parameter("ticket_id", PATH),
            body=pb.Body(
                encoding=pb.BODY_ENCODING_MULTIPART,
                fields=[
                    pb.BodyField(property="file", name="file", media_type="application/octet-stream"),
                    pb.BodyField(property="description", name="description"),
                ],
            ),
        ),
        an_action(
            "download_attachment", "GET", "/attachments/{attachment_id}/content", a_parameter("attachment_id", PATH)
        ),
        url=f"{url}/v1",
        version=version,
        auth_schemes=[
            pb.AuthScheme(id="key", api_key=pb.ApiKey(placement=HEADER, name="X-Api-Key")),
            pb.AuthScheme(id="basic", basic=pb.Basic()),
            pb.AuthScheme(id="oauth", oauth2=pb.OAuth2(authorization_url=f"{url}/a", token_url=f"{url}/t")),
        ],
        rate_limit_headers=pb.RateLimitHeaders(
            limit="RateLimit-Limit", remaining="RateLimit-Remaining", reset="RateLimit-Reset"
        ),
    )  # fmt: skip
