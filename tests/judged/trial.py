"""One API description on trial: inputs of every action become requests, and others' code judges them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from cordboard.auth.v1 import credential_service_pb2 as auth_pb
from cordboard.catalog.openapi import Imported, import_document
from cordboard.catalog.text import parse
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import CordboardError, InvalidFields
from cordboard.planning.plan import Outbound
from cordboard.proxy import definitions
from cordboard.proxy.credentials import Credential
from tests.judged.faults import known_fault
from tests.judged.inputs import Inputs, Schemas, Size
from tests.judged.openapi import Judge, Unjudged
from tests.judged.prism import Prism, prism
from tests.judged.wrong import Wrong, wrong_inputs

SIZES: Final = (Size.LEAST, Size.MOST, Size.SOME)
SUFFIXES: Final = (".json", ".yaml", ".yml")
MAX_WRONG: Final = 40

_TOKEN: Final = "token-of-nobody"


@dataclass
class Trial:
    """What came out for one document."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    """What went wrong: the kind, the action, and the reason."""

    def found(self, kind: str, action: str, reason: str) -> None:
        """Notes something that went wrong."""
        self.counts[kind] += 1
        self.findings.append((kind, action, reason))


def descriptions(folder: Path) -> list[Path]:
    """Returns the files of a folder that may be API descriptions."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def tried(path: Path, *, at_most: int = 0, sizes: Sequence[Size] = SIZES, second: Path | None = None) -> Trial | None:
    """Returns what came of a document, or None where it cannot be imported.

    `at_most` 0: every action of it. With a folder to work in as `second`, prism judges what openapi-core cannot.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        became = import_document(text, owner="trial")
    except CordboardError:
        return None
    root = parse(text, refuse_duplicates=False).value
    court = _Court(path.name, root, became)
    trial = court.trial(at_most, sizes)
    if second is not None and court.waiting:
        court.appeal(root, second)
    return trial


@dataclass(frozen=True)
class _Appeal:
    """A request that the first judge could not judge."""

    action: str
    request: Outbound
    base: str
    given: dict[str, Any]
    reason: str


class _Court:
    def __init__(self, name: str, root: dict[str, Any], became: Imported) -> None:
        self._trial = Trial(name)
        self._is_swagger = "swagger" in root
        self._judge = Judge(root)
        self._became = became
        self._definition = definitions.Definition(became.definition)
        self._schemas = Schemas(orjson.loads(became.definition.schemas_json or b"{}"))
        self.waiting: list[_Appeal] = []
        """What was not judged."""

    def trial(self, at_most: int, sizes: Sequence[Size]) -> Trial:
        actions = list(self._became.definition.actions)
        step = max(1, len(actions) // at_most) if at_most else 1
        for action in actions[::step][: at_most or None]:
            self._trial.counts["operations"] += 1
            self._try(action, sizes)
        return self._trial

    def appeal(self, root: dict[str, Any], folder: Path) -> None:
        """Has prism judge what was not judged."""
        try:
            with prism(root, folder) as judge:
                for one in self.waiting:
                    self._hear(judge, one)
        except Unjudged as problem:
            for one in self.waiting:
                self._trial.found("not judged", one.action, f"{one.reason}; {problem}")

    def _hear(self, judge: Prism, appeal: _Appeal) -> None:
        action = appeal.action
        try:
            refusals = judge.judge(appeal.request, appeal.base, appeal.given).refusals
        except Unjudged as problem:
            self._trial.found("not judged", action, f"{appeal.reason}; {problem}")
            return
        if not refusals:
            self._trial.counts["accepted by prism"] += 1
        elif all(known_fault(self._trial.name, one) for one in refusals):
            self._trial.found("explained", action, known_fault(self._trial.name, refusals[0]))
        else:
            self._trial.counts["refused"] += 1
            self._trial.findings += [("refused", action, f"prism: {one}") for one in refusals]

    def _try(self, action: pb.Action, sizes: Sequence[Size]) -> None:
        try:
            ready = self._definition.action(action.id)
            place = self._definition.servers.place(self._configuration(), ready.server_url)
        except CordboardError as error:
            self._trial.found("unusable", action.id, error.text)
            return
        schema = orjson.loads(action.input_schema_json or b"{}")
        seed = f"{self._trial.name} {action.id}"
        always = _credentials(action, schema)
        inputs = Inputs(schema, self._schemas, seed, awkward=_awkward(action), always=always)
        tried_already: list[dict[str, Any]] = []
        for size in sizes:
            given = self._fitting(ready, inputs, size, action.id)
            if given is None or given in tried_already:
                continue
            tried_already.append(given)
            self._trial.counts["requests"] += 1
            try:
                planned = ready.plan.outbound(given, place.base, place.template)
                request = self._with_credential(planned, action)
            except CordboardError as error:
                self._trial.found("unplanned", action.id, f"{error.text} {getattr(error, 'violations', '')}"[:300])
                continue
            self._ask(action, request, place.base, given)
        if tried_already:
            fullest = max(tried_already, key=lambda one: len(orjson.dumps(one)))
            for wrong in list(wrong_inputs(schema, self._schemas, fullest))[:MAX_WRONG]:
                self._refuse(ready, action.id, wrong)

    def _fitting(self, ready: definitions.Action, inputs: Inputs, size: Size, action: str) -> dict[str, Any] | None:
        reason = "its schema leaves no value"
        for given in inputs.make(size):
            try:
                ready.check(given)
            except InvalidFields as error:
                reason = "; ".join(f"{one.field}: {one.description}" for one in error.violations[:2])
            else:
                return given
        self._trial.found("no input made", action, f"{size.value}: {reason}"[:200])
        return None

    def _ask(self, action: pb.Action, request: Outbound, base: str, given: dict[str, Any]) -> None:
        try:
            if self._is_swagger:
                raise Unjudged("Swagger 2.0")
            verdict = self._judge.judge(request, base, self._became.pointers[action.id], action.request, given)
        except Unjudged as problem:
            self._trial.counts["for a second judge"] += 1
            self.waiting.append(_Appeal(action.id, request, base, given, str(problem)))
            return
        reasons = [known_fault(self._trial.name, reason) for reason in (*verdict.refusals, *verdict.misread)]
        if reasons and all(reasons):
            self._trial.found("explained", action.id, str(reasons[0]))
            return
        for reason in verdict.refusals:
            self._trial.findings.append(("refused", action.id, reason))
        for reason in verdict.misread:
            self._trial.findings.append(("misread", action.id, reason))
        kind = "refused" if verdict.refusals else "misread" if verdict.misread else "accepted"
        self._trial.counts[kind] += 1

    def _refuse(self, ready: definitions.Action, action: str, wrong: Wrong) -> None:
        self._trial.counts["wrong inputs"] += 1
        try:
            ready.check(wrong.given)
        except InvalidFields as error:
            if not any(_names(one.field, wrong.field) for one in error.violations):
                named = ", ".join(one.field for one in error.violations[:3])
                self._trial.found("wrong, other field named", action, f"{wrong.kind} {wrong.field}: {named}")
            return
        self._trial.found("wrong input let through", action, f"{wrong.kind} {wrong.field}")

    def _configuration(self) -> dict[str, str]:
        return {
            variable.name: variable.allowed_values[0] if variable.allowed_values else "acme"
            for server in self._became.definition.servers
            for variable in server.variables
            if not variable.default_value
        }

    def _with_credential(self, request: Outbound, action: pb.Action) -> Outbound:
        schemes = {scheme.id: scheme for scheme in self._became.definition.auth_schemes}
        scheme = schemes[action.auth_schemes[0]] if action.auth_schemes else next(iter(schemes.values()))
        parts = [_part(one) for one in schemes.values()]
        told = scheme.all_of.auth_schemes if scheme.WhichOneof("kind") == "all_of" else [scheme.id]
        lease = auth_pb.LeaseCredentialResponse(parts=[part for part in parts if part.auth_scheme in told])
        return Credential("connections/trial", lease).place(request, scheme, schemes)


def _part(scheme: pb.AuthScheme) -> auth_pb.CredentialPart:
    if scheme.WhichOneof("kind") == "basic":
        basic = auth_pb.BasicCredential(username="nobody", password=_TOKEN)
        return auth_pb.CredentialPart(auth_scheme=scheme.id, basic=basic)
    if scheme.WhichOneof("kind") == "none":
        return auth_pb.CredentialPart(auth_scheme=scheme.id, none=auth_pb.NoCredential())
    return auth_pb.CredentialPart(auth_scheme=scheme.id, token=_TOKEN)


def _awkward(action: pb.Action) -> frozenset[str]:
    """Returns the properties that can carry any text: not those of headers and cookies."""
    plain = {
        parameter.property
        for parameter in action.request.parameters
        if parameter.placement in (pb.PLACEMENT_HEADER, pb.PLACEMENT_COOKIE)
    }
    return frozenset(_properties(action)) - plain


def _credentials(action: pb.Action, schema: dict[str, Any]) -> frozenset[str]:
    """Returns the optional inputs that the description requires beside the credential that they repeat."""
    return frozenset(
        parameter.property
        for parameter in action.request.parameters
        if schema["properties"][parameter.property].get("writeOnly") is True
    )


def _properties(action: pb.Action) -> Iterator[str]:
    for parameter in action.request.parameters:
        yield parameter.property
    yield from (field.property for field in action.request.body.fields)
    if action.request.body.property:
        yield action.request.body.property


def _names(named: str, wanted: str) -> bool:
    """Tells whether a field that is named is the wrong one, or an object around what is wrong in it."""
    return named == wanted or named.startswith((f"{wanted}.", f"{wanted}["))
