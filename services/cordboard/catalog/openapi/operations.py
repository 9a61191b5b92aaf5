"""The operations of a document become actions, each one, or a loss with its reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.openapi.bodies import Bodies
from cordboard.catalog.openapi.inputs import Inputs
from cordboard.catalog.openapi.paging import PagingRules
from cordboard.catalog.openapi.parameters import Parameters
from cordboard.catalog.openapi.paths import read_template
from cordboard.catalog.openapi.responses import Responses
from cordboard.catalog.openapi.source import OperationLost, Unresolved, join, mapping, sequence, text
from cordboard.catalog.syntax import is_line, url_problem, without_hidden
from cordboard.catalog.v1.definition_pb2 import Action, RequestPlan

if TYPE_CHECKING:
    from cordboard.catalog.openapi.failures import Failures
    from cordboard.catalog.openapi.paths import Template
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.schemas import Schemas
    from cordboard.catalog.openapi.security import Security
    from cordboard.catalog.openapi.servers import Servers
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.schemas import Schema

MAX_ID: Final = 128
MAX_TITLE: Final = 120
MAX_DESCRIPTION: Final = 2000
MAX_OPERATIONS: Final = 5000

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_UNSUPPORTED: Final = ("trace", "query")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MARKUP: Final = re.compile(r"<[^<>]{1,200}>")


class Operations:
    """Reads the operations of one document."""

    def __init__(
        self, source: Source, schemas: Schemas, servers: Servers, security: Security, failures: Failures, report: Report
    ) -> None:
        """Takes the document, what is known of it, and where findings go."""
        self._source = source
        self._servers = servers
        self._security = security
        self._failures = failures
        self._report = report
        self._parameters = Parameters(source, schemas, security, report)
        self._bodies = Bodies(source, schemas, report)
        self.responses = Responses(source, schemas, report)
        self._paging = PagingRules(source, report)
        self._taken: set[str] = set()
        self.actions: list[Action] = []
        self.schemas: dict[str, Schema] = {}
        """The schemas of the actions by `{id} input` and `{id} output`, until `seal` writes them down."""
        self.pointers: dict[str, str] = {}
        """Where each action stands in the document."""

    def read(self) -> None:
        """Reads all operations, in the order of the document."""
        paths = self._source.root.get("paths")
        if not isinstance(paths, dict):
            self._report.loss("/paths", "the document has no paths, so no operations")
            paths = {}
        for path, declared in paths.items():
            if path.startswith("x-"):
                continue
            pointer = join("/paths", path)
            try:
                item, at = self._source.follow(declared, pointer)
            except Unresolved as problem:
                self._report.loss(pointer, f"the operations of this path are unknown: {problem}")
                continue
            if not isinstance(item, dict):
                self._report.loss(pointer, "this is not a path with operations")
                continue
            # Beside `$ref` a path may have operations of its own.
            self._path(path, {**item, **mapping(declared)} if item is not declared else item, at)
        for name in ("webhooks", "x-webhooks"):
            count = len(mapping(self._source.root.get(name)))
            if count:
                self._report.loss(f"/{name}", f"{count} webhooks: what the vendor sends is no action")

    def seal(self) -> None:
        """Writes into the actions what is known only when all of them are: schemas, and what else authenticates."""
        for action in self.actions:
            action.auth_schemes.extend(self._security.beyond(action.auth_schemes))
            action.input_schema_json = orjson.dumps(self.schemas[f"{action.id} input"]).decode()
            output = self.schemas.get(f"{action.id} output")
            if output:
                action.output_schema_json = orjson.dumps(output).decode()

    def _path(self, path: str, item: dict[str, Any], pointer: str) -> None:
        for method in _METHODS:
            if method in item:
                self._operation(method, path, item, pointer)
        for method in mapping(item.get("additionalOperations")):
            self._report.operations += 1
            self._report.loss(join(pointer, "additionalOperations", method), f"{method[:40]!r} cannot be sent")

    def _operation(self, method: str, path: str, item: dict[str, Any], item_pointer: str) -> None:
        self._report.operations += 1
        pointer = join(item_pointer, method)
        try:
            declared, at = self._source.follow(item[method], pointer)
            if not isinstance(declared, dict):
                raise OperationLost("it is not an operation")
            if method in _UNSUPPORTED:
                raise OperationLost(f"{method.upper()} cannot be sent")
            if len(self.actions) >= MAX_OPERATIONS:
                raise OperationLost(f"a definition has at most {MAX_OPERATIONS} actions")
            self._action(method.upper(), path, item, declared, (item_pointer, at))
        except (OperationLost, Unresolved) as problem:
            self._report.loss(pointer, f"{method.upper()} {path[:150]} is left out: {problem}")

    def _action(
        self, method: str, path: str, item: dict[str, Any], operation: dict[str, Any], pointers: tuple[str, str]
    ) -> None:
        item_pointer, pointer = pointers
        declared = self._parameters.declared(
            [
                (item.get("parameters"), join(item_pointer, "parameters")),
                (operation.get("parameters"), join(pointer, "parameters")),
            ]
        )
        template = read_template(
            path, {one.name for one in declared if one.place == "path"}, item_pointer, self._report
        )
        inputs = Inputs()
        requirement = self._security.requirement(operation, pointer, self._parameters.asked(declared))
        headers = self._parameters.bind(declared, template, inputs, requirement, pointer)
        body = self._bodies.bind(operation.get("requestBody"), join(pointer, "requestBody"), method, inputs)
        answer = self.responses.answer(operation.get("responses"), join(pointer, "responses"))
        request = RequestPlan(method=method, path=template.path, parameters=inputs.parameters, headers=headers.fixed)
        if body is not None:
            request.body.CopyFrom(body)
        request.server_url = self._server(template, item, operation, pointers)
        action = Action(
            id=self._id(operation, method, path, pointer),
            request=request,
            idempotency_key_header=headers.idempotency_key,
            auth_schemes=requirement.schemes,
            scopes=requirement.scopes,
            deprecated=operation.get("deprecated") is True,
        )
        _describe(action, operation)
        paging = self._paging.recognise(method, template.path, inputs, answer, pointer)
        if paging is not None:
            action.paging.CopyFrom(paging)
        self.actions.append(action)
        self.pointers[action.id] = pointer
        self.schemas[f"{action.id} input"] = inputs.schema()
        if answer.schema is not None:
            self.schemas[f"{action.id} output"] = answer.schema
        self._failures.look(operation.get("responses"), join(pointer, "responses"), answer, action)

    def _server(
        self, template: Template, item: dict[str, Any], operation: dict[str, Any], pointers: tuple[str, str]
    ) -> str:
        item_pointer, pointer = pointers
        if template.origin:
            holders: list[tuple[Any, str]] = [([{"url": template.origin}], pointer)]
        else:
            holders = [
                (operation.get("servers"), join(pointer, "servers")),
                (item.get("servers"), join(item_pointer, "servers")),
            ]
        return self._servers.own(holders)

    def _id(self, operation: dict[str, Any], method: str, path: str, pointer: str) -> str:
        given = text(operation.get("operationId"))
        wanted = _sanitised(given)
        if not wanted:
            wanted = _sanitised(f"{method.lower()} {path}") or method.lower()
            self._report.repair(pointer, "there is no operationId; the method and the path make one")
        elif wanted != given:
            said = f"the operationId {given[:80]!r} became {wanted[:80]!r}"
            self._report.repair(pointer, said, alike="operationIds with characters that an action's id cannot have")
        chosen, number = wanted, 1
        while chosen in self._taken:
            number += 1
            chosen = f"{wanted[: MAX_ID - 6]}_{number}"
        if chosen != wanted:
            self._report.repair(
                pointer, f"the operationId {wanted[:80]!r} stands twice; this one became {chosen[-80:]!r}"
            )
        self._taken.add(chosen)
        return chosen


def _describe(action: Action, operation: dict[str, Any]) -> None:
    summary = plain_text(operation.get("summary"), MAX_TITLE).replace("\n", " ")
    description = plain_text(operation.get("description"), MAX_DESCRIPTION)
    action.title = summary or _humanised(action.id)
    action.description = description if description != summary else ""
    for tag in sequence(operation.get("tags"))[:32]:
        name = " ".join(text(tag).split())[:128]
        if name and is_line(name) and name not in action.tags:
            action.tags.append(name)


def plain_text(value: Any, limit: int) -> str:
    """Returns a text without markup and control characters, cut to a limit."""
    cleaned = without_hidden(_MARKUP.sub("", text(value)[: limit * 4])).replace("\r", "").strip()
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + "…"


def documentation_uri(root: dict[str, Any]) -> str:
    """Returns where the vendor documents the API, or an empty text."""
    url = text(mapping(root.get("externalDocs")).get("url"))
    return "" if url_problem(url, base=False) else url


def _sanitised(given: str) -> str:
    return _UNSAFE.sub("_", given).strip("_.-")[:MAX_ID]


def _humanised(identifier: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", identifier)
    words = re.sub(r"[_./-]+", " ", spaced).strip()[:MAX_TITLE]
    return words[:1].upper() + words[1:]
