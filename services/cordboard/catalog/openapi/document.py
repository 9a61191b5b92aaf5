"""A whole OpenAPI document becomes a definition and a report. Nothing is fetched, and the same text gives the same."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from cordboard.catalog.action import object_schema
from cordboard.catalog.capabilities import RUNTIME
from cordboard.catalog.definition import problems
from cordboard.catalog.openapi.bundle import Files, bundled
from cordboard.catalog.openapi.failures import Failures
from cordboard.catalog.openapi.operations import Operations, documentation_uri, plain_text
from cordboard.catalog.openapi.report import Report
from cordboard.catalog.openapi.schemas import Schemas, mend
from cordboard.catalog.openapi.security import Security
from cordboard.catalog.openapi.servers import Servers
from cordboard.catalog.openapi.source import Source, mapping
from cordboard.catalog.openapi.swagger import lifted
from cordboard.catalog.syntax import url_problem
from cordboard.catalog.text import parse
from cordboard.catalog.v1.definition_pb2 import Category, Definition
from cordboard.core.errors import DocumentInvalid, InvalidFields
from cordboard.core.names import check_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from cordboard.catalog.v1.catalog_service_pb2 import ImportReport
    from cordboard.core.errors import Violation

NO_FILES: Final = Files()
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 2000

_VERSION: Final = re.compile(r"3\.\d+(?:\.\d+)?.*")
_SWAGGER: Final = ("2.0", "2")
_ACTION: Final = re.compile(r"actions\[(\d+)\]")
# An action of which the last part of the path is one of these shows whether a connection works.
_CHECKS: Final = (
    *("me", "myself", "whoami", "self", "viewer", "user", "current_user", "account", "profile", "ping", "status"),
    *("auth.test", "health"),
)


@dataclass(frozen=True)
class Imported:
    """What an OpenAPI document became."""

    definition: Definition
    report: ImportReport
    pointers: dict[str, str] = field(default_factory=dict)
    """Where each action stands in the document, by id: JSON Pointers (RFC 6901)."""


def import_document(
    document: str,
    *,
    slug: str = "",
    owner: str = "",
    source_uri: str = "",
    server_url: str = "",
    files: Files = NO_FILES,
    runtime: Collection[str] = RUNTIME,
) -> Imported:
    """Returns the definition and the report; raises DocumentInvalid, or InvalidFields for the other arguments.

    `source_uri` is where the document came from: relative URLs are resolved against it. `server_url` replaces the
    document's servers. `files` are those that its references lead to. What is recognised and not among the capabilities
    in `runtime` is only noted.
    """
    _check_arguments(slug, source_uri, server_url)
    parsed = parse(document, refuse_duplicates=False)
    report = Report()
    root = _root(parsed.value, files, report)
    for path in parsed.duplicates:
        report.twice("/" + "/".join(map(str, path)), path)
    source = Source(root)
    info = mapping(root.get("info"))
    title = (
        " ".join(plain_text(info.get("title"), MAX_TITLE).split()) or urlsplit(source_uri).hostname or "Imported API"
    )
    definition = Definition(
        slug=slug,
        title=title,
        description=plain_text(info.get("description"), MAX_DESCRIPTION),
        category=Category.CATEGORY_API,
        owner=owner,
        documentation_uri=documentation_uri(root),
    )
    servers = Servers(report, source_uri, server_url)
    servers.settle(root)
    security = Security(source, report, source_uri)
    security.settle(servers.servers[0].url)
    schemas = Schemas(source, report)
    failures = Failures(source, report, runtime)
    operations = Operations(source, schemas, servers, security, failures, report)
    operations.read()
    shared = schemas.shared()
    mend(shared, operations.schemas, report)
    operations.seal()
    # Two APIs with titles in other letters are no versions of each other.
    definition.slug = slug or _slug(title) or _slug(urlsplit(servers.servers[0].url).hostname or "") or "api"
    definition.servers.extend(servers.servers)
    definition.allowed_hosts.extend(servers.hosts())
    definition.auth_schemes.extend(security.schemes())
    failures.settle(definition)
    definition.actions.extend(operations.actions)
    if shared:
        definition.schemas_json = orjson.dumps(shared).decode()
    limits = operations.responses.rate_limit_headers()
    if limits is not None:
        definition.rate_limit_headers.CopyFrom(limits)
    definition.check_action = _check_action(definition, report, operations.pointers)
    _drop_unsound(definition, report, operations.pointers)
    pointers = {action.id: operations.pointers[action.id] for action in definition.actions}
    return Imported(definition, report.message(len(definition.actions)), pointers)


def _check_arguments(slug: str, source_uri: str, server_url: str) -> None:
    if slug:
        check_id(slug, "slug")
    for name, url in (("source_uri", source_uri), ("server_url", server_url.rstrip("/"))):
        problem = url_problem(url, base=name == "server_url") if url else ""
        # A document that was read from a file has a path for its source, and nothing to resolve against it.
        if problem and name == "server_url":
            raise InvalidFields.one(name, problem)
        if problem and "://" in url:
            raise InvalidFields.one(name, problem)


def _root(value: Any, files: Files, report: Report) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DocumentInvalid("an OpenAPI document is a mapping; this one is not", 1, 1)
    value = bundled(value, files, report)
    version = value.get("openapi")
    if version is None and "swagger" in value:
        if str(value["swagger"]).strip() not in _SWAGGER:
            raise DocumentInvalid(f"Swagger {str(value['swagger'])[:20]!r} is not known; 2.0 is")
        return lifted(value, report)
    if version is None:
        raise DocumentInvalid("this is not an OpenAPI document: it has neither a member `openapi` nor `swagger`")
    if not _VERSION.fullmatch(str(version)):
        raise DocumentInvalid(f"OpenAPI {str(version)[:20]!r} is not known; 2.0, 3.0, 3.1 and 3.2 are")
    return {**value, "openapi": str(version)}


def _slug(title: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:63].strip("-")
    if slug and not slug[0].isalpha():
        slug = f"api-{slug}".strip("-")[:63].strip("-")
    return slug if len(slug) > 1 else ""


def _check_action(definition: Definition, report: Report, pointers: dict[str, str]) -> str:
    """Returns the id of the action that shows whether a connection works, or an empty text."""
    best, rank = "", len(_CHECKS)
    for action in definition.actions:
        last = action.request.path.rstrip("/").rpartition("/")[2].lower()
        if action.request.method != "GET" or last not in _CHECKS or _CHECKS.index(last) >= rank:
            continue
        if not (object_schema(action.input_schema_json) or {}).get("required"):
            best, rank = action.id, _CHECKS.index(last)
    if best:
        report.note(pointers[best], f"{best!r} needs no input and says who is calling: it checks connections")
    return best


def _drop_unsound(definition: Definition, report: Report, pointers: dict[str, str]) -> None:
    """Takes out actions that a definition cannot have. What is wrong elsewhere is an error of the whole document."""
    found = problems(definition)
    lost: dict[int, Violation] = {}
    for violation in found:
        place = _ACTION.match(violation.field)
        if place is None:
            raise InvalidFields(found)
        lost.setdefault(int(place[1]), violation)
    for index in sorted(lost, reverse=True):
        action = definition.actions[index]
        violation = lost[index]
        where = violation.field.partition("].")[2]
        request = f"{action.request.method} {action.request.path[:150]}"
        report.loss(pointers[action.id], f"{request} is left out: {where}: {violation.description}")
        if definition.check_action == action.id:
            definition.check_action = ""
        del definition.actions[index]
