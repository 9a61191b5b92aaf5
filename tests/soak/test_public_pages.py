"""The pages and requests that need no token, as schemathesis asks them: no fault, no redirect, no foreign markup.

`EXAMPLES` is how many requests each of them gets, well-formed ones and others in equal parts.
"""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from requests.adapters import HTTPAdapter
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cordboard.auth.v1 import connect_service_pb2 as connecting
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import RunningMesh

EXAMPLES: Final = int(os.environ.get("EXAMPLES", "1000"))
# Envoy counts by address: so many of them ask in turn.
ADDRESSES: Final = 100
SECONDS: Final = 30.0
TEXT: Final = {"type": "string", "maxLength": 300}
# What is no JSON at all is refused by Envoy, in words.
ERROR: Final = {
    "description": "refused",
    "content": {
        "application/json": {"schema": {"type": "object", "required": ["code", "message"]}},
        "text/plain": {"schema": {"type": "string"}},
    },
}
# A path in another spelling is sent to its own.
RESPELLED: Final = {"description": "the path as it is spelled here"}
PAGE: Final = {"description": "a page", "content": {"text/html; charset=utf-8": {"schema": {"type": "string"}}}}
KEY_SET: Final = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "minItems": 1, "items": {"required": ["kid", "kty", "n", "e"]}}},
}
KEYS: Final = {"description": "keys", "content": {"application/jwk-set+json": {"schema": KEY_SET}}}
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
RETURNED: Final = ("state", "code", "iss", "error", "error_description", "oauth_token", "oauth_verifier")
LINK: Final = {"name": "link", "in": "path", "required": True, "schema": TEXT}
GOOD: Final = {
    "content-type": "text/html",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# Paths that a careless redirect would make addresses of.
ELSEWHERE: Final = tuple(
    f"{before}{slashes}evil.example{after}"
    for before in ("", "/connect", "/connect/callback", "/console")
    for slashes in (
        "/%2f", "/%2F%2f", "/%5c", "/%5C%5c", "/%2f%5c", "//%2f", "/%09%2f", "/.%2f%2f", "/%2f..%2f%2f",
    )
    for after in ("", "/%2f..", "?next=%2f%2fevil.example")
)  # fmt: skip
PAYLOADS: Final = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</title><script>", "' onload='x", "<!--",
    "javascript:alert(1)", "<svg/onload=alert(1)>", "&lt;script&gt;", "&#60;b&#62;", "%3Cscript%3E", "\u202e<b>",
    "<iframe srcdoc=x>", "<meta http-equiv=refresh content=0;url=//evil.example>", "<base href=//evil.example>",
    "</style><b>", "</main><b>", "<a href=//evil.example>x</a>", "<form action=//evil.example>", "]]><b>", "<?php ?>",
    "//evil.example", "https://evil.example/", "\\\\evil.example", "/%2f%2fevil.example", "https:evil.example",
    "data:text/html,<b>", "\r\nLocation: https://evil.example", "\nSet-Cookie: a=b", "%0d%0aX: y", "\x00", "\x1b[31m",
    "\ufeff", "${7*7}", "{{7*7}}", "<%= 7*7 %>", "' OR 1=1 --", "../../etc/passwd", "a" * 4000, "\u2028", "é" * 500,
)  # fmt: skip


def queried(*names: str) -> list[dict[str, Any]]:
    """Returns parameters of the query, each a text that may be left out."""
    return [{"name": name, "in": "query", "schema": TEXT} for name in names]


def operation(answers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Returns an operation with these answers, and refusals."""
    refusals = dict.fromkeys(("400", "401", "403", "404", "405", "409", "412", "413", "415", "429"), ERROR)
    return {"responses": {**refusals, **answers}, **fields}


def posted(*names: str) -> dict[str, Any]:
    """Returns an operation that takes these texts in a JSON body."""
    schema = {"type": "object", "properties": dict.fromkeys(names, TEXT), "additionalProperties": False}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    answer = {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"post": operation({"200": answer}, requestBody=body)}


DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.0.3",
    "info": {"title": "What needs no token", "version": "1"},
    "paths": {
        "/connect/callback": {
            "get": operation({"200": PAGE}, parameters=queried(*RETURNED))
        },
        "/login/callback": {"get": operation({"200": PAGE}, parameters=queried("state", "code", "iss", "error"))},
        "/connect/{link}": {
            "get": operation({"200": PAGE, "307": RESPELLED}, parameters=[LINK])
        },
        "/.well-known/jwks.json": {
            "get": operation({"200": KEYS})
        },
        "/v1/connectPages:open": posted("link", "key"),
        "/v1/connectPages:submit": posted("link", "key", "authScheme"),
        "/v1/sessions:open": posted("code"),
        "/v1/sessions:token": posted(),
        "/v1/sessions:end": posted(),
        "/v1/logins:complete": posted("login", "code"),
    },
}  # fmt: skip


def sessions(mesh: RunningMesh) -> Iterator[requests.Session]:
    """Yields sessions that come from one address after the other, without an end."""
    made = []
    for number in range(ADDRESSES):
        session = requests.Session()
        session.verify = str(mesh.mesh.ca_file)
        adapter = HTTPAdapter()
        adapter.init_poolmanager(1, 1, source_address=(f"127.0.1.{number + 1}", 0))
        session.mount("https://", adapter)
        made.append(session)
    while True:
        yield from made


def look_at(status: int, headers: Mapping[str, str], text: str, sent: list[str]) -> None:
    """Checks what must hold whatever was asked."""
    assert status < 500, f"{status} {text[:300]}"
    # Nowhere else: neither `//host` nor `/\\host`, which browsers read alike.
    assert status // 100 != 3 or re.match(r"/(?![/\\])", headers["location"])
    assert status // 100 == 3 or "location" not in headers
    if "html" not in headers.get("content-type", ""):
        return
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert not [each for each in sent if html.escape(each) != each and each in text]


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_whatever_is_asked_without_a_token_is_answered_as_it_is_written_down(
    running_mesh: RunningMesh, path: str
) -> None:
    document = schemathesis.openapi.from_dict(DOCUMENT)
    document.config.update(base_url=running_mesh.mesh.public_url, tls_verify=str(running_mesh.mesh.ca_file))
    method = "GET" if "get" in DOCUMENT["paths"][path] else "POST"
    asking, counts = sessions(running_mesh), Counter[int]()

    def ask(case: Case[Any]) -> None:
        answer = case.call(session=next(asking), timeout=SECONDS, allow_redirects=False)
        counts[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        values = [*(case.query or {}).values(), *(case.path_parameters or {}).values()]
        headers = {name.lower(): told[0] for name, told in answer.headers.items()}
        look_at(answer.status_code, headers, answer.text, [str(value) for value in values])

    # Where nothing can be said, nothing can be said wrong.
    nothing = "parameters" not in DOCUMENT["paths"][path].get("get", {"parameters": ()})
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 if nothing else 2]:
        strategy = document[path][method].as_strategy(generation_mode=mode)
        tried = settings(
            max_examples=EXAMPLES // 2,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        tried(given(case=strategy)(ask))()
    print(f"\n{method} {path}: {sum(counts.values())} requests, {dict(counts)}")
    assert counts


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (500, {}, ""),
        (307, {"location": "//evil.example"}, ""),
        (302, {"location": "/\\evil.example"}, ""),
        (302, {"location": "https://evil.example"}, ""),
        (200, GOOD | {"location": "/"}, ""),
        (200, GOOD, "<b>it</b>"),
        (200, GOOD | {"content-security-policy": "default-src 'none'; script-src 'unsafe-inline'"}, ""),
        (200, GOOD | {"referrer-policy": "origin"}, ""),
        (200, GOOD | {"x-content-type-options": ""}, ""),
    ],
)
def test_what_would_be_wrong_is_noticed(status: int, headers: dict[str, str], text: str) -> None:
    look_at(200, GOOD, "&lt;b&gt;it&lt;/b&gt;", ["<b>it</b>"])
    look_at(307, {"location": "/connect/evil.example"}, "", [])
    with pytest.raises(AssertionError):
        look_at(status, headers, text, ["<b>it</b>"])


async def begun(desk: Desk, tenant: Tenant) -> str:
    """Begins to connect an account, and returns the state."""
    request = connecting.CreateConnectSessionRequest(
        parent=f"workspaces/{tenant.workspace}",
        integration=INTEGRATION,
        auth_scheme=desk.schemes["oauth2"],
        connection_id="hostile",
    )
    async with desk.mesh.client(tenant.token) as client:
        page = (await client.connect.CreateConnectSession(request)).authorization_url
    return parse_qs(urlsplit(page).query)["state"][0]


async def test_whatever_a_vendor_sends_back_is_no_markup_and_leads_nowhere(desk: Desk, northwind: Tenant) -> None:
    pages, plain = 0, ""
    for payload in ("plain", *PAYLOADS):
        for query in ({"error": payload, "error_description": payload}, {"code": payload, "iss": payload}):
            # Each with a state that is good, so that the page speaks of what came back.
            given = urlencode({"state": await begun(desk, northwind), **query})
            answer = await desk.mesh.http("GET", f"/connect/callback?{given}")
            look_at(answer.status, answer.headers, answer.text, [payload])
            if answer.status != 200:
                continue
            pages += 1
            shape = "".join(re.findall(r"<[^>]*>", answer.text))
            plain = plain or shape
            assert shape == plain
    for path in ELSEWHERE:
        answer = await desk.mesh.http("GET", path)
        look_at(answer.status, answer.headers, answer.text, [])
    print(f"\n{len(PAYLOADS)} payloads in each of four parameters: {pages} pages, all of the same elements")
    assert pages > len(PAYLOADS)
