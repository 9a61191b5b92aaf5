"""Writes the pages of docs/ that say what the code says: errors, access rules, settings.

`python docs/generate.py` writes them; with `--check` it only names those that are not current, and exits with 1.
`tests/unit/docs/test_generated.py` does the same check.
"""

from __future__ import annotations

import functools
import json
import re
import runpy
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2

from cordboard.cli import profiles
from cordboard.cli.failures import EXIT_CODES
from cordboard.client.errors import CordboardError, from_rpc
from cordboard.common.v1 import error_reason_pb2, options_pb2
from cordboard.core import access, errors, migrate, status
from cordboard.core.settings import PREFIX, Settings, schema
from cordboard.local.settings_file import settings_kind

DOCS: Final = Path(__file__).resolve().parent
ROOT: Final = DOCS.parent
NOTE: Final = "<!-- Written by docs/generate.py from {source}. Change that, then run `make docs`. -->"
ROLES: Final = tuple(access.role_name(number) for number in sorted(options_pb2.Role.values()) if number)
REASON_PREFIX: Final = "ERROR_REASON_"
# Its stub does not say that it is an extension.
_HTTP: Final[Any] = annotations_pb2.http


@dataclass(frozen=True)
class Rpc:
    """One method as its proto declares it."""

    service: str
    name: str
    comment: str
    http: str
    rule: access.Rule
    streams: bool


@functools.cache
def protos() -> list[descriptor_pb2.FileDescriptorProto]:
    """Returns our own proto files, comments included, which the compiled stubs have lost."""
    build = runpy.run_path(str(ROOT / "protos" / "build.py"))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        build["write_image"](str(image))
        found = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return [file for file in found.file if file.package.startswith("cordboard.")]


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Returns the leading comment of each element of a file, by its path in the descriptor."""
    return {
        tuple(location.path): "\n".join(line.strip() for line in location.leading_comments.strip().split("\n"))
        for location in file.source_code_info.location
        if location.leading_comments
    }


def rpcs(files: Sequence[descriptor_pb2.FileDescriptorProto]) -> Iterator[Rpc]:
    """Yields every method, in the order of the protos."""
    for file in files:
        told = comments(file)
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                declared = method.options.Extensions[options_pb2.access]
                yield Rpc(
                    service=f"{file.package}.{service.name}",
                    name=method.name,
                    # 6 is `service` in a file, 2 is `method` in a service (descriptor.proto).
                    comment=told.get((6, number, 2, index), ""),
                    http=_http(method.options.Extensions[_HTTP]),
                    rule=access.Rule(
                        roles=frozenset(access.role_name(role) for role in declared.roles),
                        peers=frozenset(declared.peers),
                        relays=frozenset(declared.relays),
                        public=declared.public,
                        workspace_field=declared.workspace_field,
                    ),
                    streams=method.server_streaming,
                )


def _http(rule: Any) -> str:
    verb = rule.WhichOneof("pattern")
    return f"{verb.upper()} {getattr(rule, verb)}" if verb else ""


def errors_page() -> str:
    """Returns the page of every reason: when it is sent, with which code and metadata, and what to do about it."""
    by_name = {reason.name: reason for reason in _reasons(protos())}
    classes = _error_classes()
    lines = [
        "# Errors",
        "",
        NOTE.format(source="protos/cordboard/common/v1/error_reason.proto and core/errors.py"),
        "",
        *_prose(
            "A failed call has a canonical gRPC code, a text, and details in the trailing metadata",
            f"`{status.DETAILS_KEY}`, which is a `google.rpc.Status`:",
        ),
        "",
        f"- `google.rpc.ErrorInfo`: `domain` is `{status.DOMAIN}`, `reason` and `metadata` are those of a row below;",
        "- `google.rpc.BadRequest` with `INVALID_FIELDS`: each field that is wrong, by its path in the proto;",
        "- `google.rpc.RetryInfo` where trying again makes sense: after how long.",
        "",
        *_prose(
            "Over JSON the same `google.rpc.Status` is the body. A reason that a client does not know is to be",
            "treated by its code. A resource of another workspace and one that does not exist give the same error.",
            "The last two columns say what `cordboard.client` raises, and with which exit code a command ends.",
        ),
        "",
        "| Reason | Code | RetryInfo | When, and metadata | Python client | Exit code |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, reason in by_name.items():
        kind = classes.get(name)
        hint = "yes" if "with RetryInfo" in reason.comment else ""
        raised = _raised(name, kind)
        exit_code = str(EXIT_CODES.get(raised, 1))
        lines.append(_row((f"`{name}`", _code(kind), hint, reason.text, f"`{raised.__name__}`", exit_code)))
    lines += [
        "",
        *_prose(
            "Envoy refuses some calls by itself, without these details: no valid token (UNAUTHENTICATED, HTTP 401),",
            "too many calls of a workspace (RESOURCE_EXHAUSTED, HTTP 429, with `retry-after` and `x-ratelimit-*`",
            "headers), a body that is too large (HTTP 413), a path that does not exist (HTTP 404), no healthy",
            "service (UNAVAILABLE, HTTP 503). A body that should be JSON and is none gets HTTP 400 with a line of",
            "plain text, and no JSON. Where a path has escaped slashes (`%2F`, `%5C`), Envoy sends the caller to the",
            "plain spelling of the same path (HTTP 307), before it looks at the token: a client that follows no",
            "redirects has to send it so, and one that escapes slashes in a resource's name should not.",
        ),
        "",
        "## The code of a vendor's error",
        "",
        *_prose(
            "`VENDOR_ERROR` has the canonical code that is nearest to the vendor's HTTP status. The vendor's body",
            "is never in an error. The Proxy tells two statuses by a reason of their own: 429 is `LIMIT_EXCEEDED`,",
            "and 401 to a request with a credential is `RECONNECT_REQUIRED` once a fresh credential did not help.",
        ),
        "",
        "| Vendor's HTTP status | Code |",
        "| --- | --- |",
        *(f"| {number} | {code.name} |" for number, code in sorted(status.VENDOR_CODES.items())),
        "| 500 and above | UNAVAILABLE |",
        f"| any other | {status.CODES[errors.VendorError].name} |",
    ]
    return _page(lines)


@dataclass(frozen=True)
class _Reason:
    name: str
    comment: str

    @property
    def text(self) -> str:
        """The comment without the code in front, on one line."""
        plain = " ".join(self.comment.split())
        return re.sub(r"^[A-Z_]{4,}(?:, with RetryInfo)?\. ", "", plain).replace("|", "\\|")


def _reasons(files: Sequence[descriptor_pb2.FileDescriptorProto]) -> Iterator[_Reason]:
    for file in files:
        told = comments(file)
        for number, enum in enumerate(file.enum_type):
            if enum.name == error_reason_pb2.ErrorReason.DESCRIPTOR.name:
                for index, value in enumerate(enum.value):
                    if value.number:
                        # 5 is `enum_type` in a file, 2 is `value` in an enum.
                        yield _Reason(value.name.removeprefix(REASON_PREFIX), told[(5, number, 2, index)])


def _error_classes() -> dict[str, type[errors.CordboardError]]:
    return {error_reason_pb2.ErrorReason.Name(kind.reason).removeprefix(REASON_PREFIX): kind for kind in status.CODES}


def _code(kind: type[errors.CordboardError] | None) -> str:
    if kind is None:
        return "CANCELLED"
    return "by the status" if kind is errors.VendorError else status.CODES[kind].name


def _raised(reason: str, kind: type[errors.CordboardError] | None) -> type[CordboardError]:
    """Returns what the client raises for a reason, found out by giving it a failed call."""
    code = grpc.StatusCode.CANCELLED if kind is None else status.CODES[kind]
    told = status_pb2.Status(code=code.value[0])
    told.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=status.DOMAIN))
    trailing = grpc.aio.Metadata((status.DETAILS_KEY, told.SerializeToString()))
    return type(from_rpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing)))


def access_page() -> str:
    """Returns the matrix of every RPC against the roles and the peers that may call it."""
    found = list(rpcs(protos()))
    lines = [
        "# Access",
        "",
        NOTE.format(source="the access rules in protos/"),
        "",
        *_prose(
            "Who may call what. The rule of an RPC is the option `(cordboard.common.v1.access)` in its proto. A",
            "service with an RPC that has no rule does not start.",
        ),
        "",
        "- **Roles**: a verified token with any of them, through Envoy or from a client with a certificate of its own",
        "  (`client/...`). A service that presents somebody's token is refused, unless it stands among the peers as",
        "  one that passes its caller's token on: then the token counts.",
        "- **Peers**: a certificate with this SPIFFE path below the trust domain, without a token.",
        "- **Workspace**: the request field whose workspace must be the token's own. A token of another workspace gets",
        "  NOT_FOUND; an operator may name any. Where it is empty the request names no workspace.",
        "- **JSON**: how Envoy offers the RPC as JSON; empty: gRPC and gRPC-Web only.",
    ]
    for service in dict.fromkeys(rpc.service for rpc in found):
        lines += [
            "",
            f"## {service}",
            "",
            _row(("RPC", "JSON", *ROLES, "peers", "workspace")),
            _rule_line(len(ROLES) + 4),
        ]
        lines += [_access_row(rpc) for rpc in found if rpc.service == service]
    lines += [
        "",
        "## Services of other people's protos",
        "",
        "| Service | Who |",
        "| --- | --- |",
        *(f"| `{service}` | {_who(rule)} |" for service, rule in access.FOREIGN.items()),
    ]
    return _page(lines)


def _access_row(rpc: Rpc) -> str:
    name = f"`{rpc.name}`" + (" (stream)" if rpc.streams else "")
    if rpc.rule.public:
        roles: list[str] = ["anybody"] + [""] * (len(ROLES) - 1)
    else:
        roles = ["yes" if role in rpc.rule.roles else "" for role in ROLES]
    field = f"`{rpc.rule.workspace_field}`" if rpc.rule.workspace_field else ""
    return _row((name, f"`{rpc.http}`" if rpc.http else "", *roles, ", ".join(_peers(rpc.rule)), field))


def _peers(rule: access.Rule) -> list[str]:
    """Returns who calls by its certificate, and who passes a token on."""
    return [*sorted(rule.peers), *(f"{peer} with its caller's token" for peer in sorted(rule.relays))]


def _who(rule: access.Rule) -> str:
    if rule.public:
        return "whoever has a certificate of the mesh"
    return ", ".join(f"`{peer}`" for peer in sorted(rule.peers))


def settings_kinds() -> dict[str, type[Settings]]:
    """Returns the settings class of each service, by the service's name."""
    return {service: settings_kind(service) for service in access.SERVICES}


def settings_schema() -> str:
    """Returns the JSON Schema of each service's environment."""
    return json.dumps(schema(*settings_kinds().values()), indent=2, ensure_ascii=False) + "\n"


def settings_page() -> str:
    """Returns the page of every variable that a service reads."""
    kinds = settings_kinds()
    shared = schema(Settings)["Settings"]
    lines = [
        "# Settings",
        "",
        NOTE.format(source="the settings classes"),
        "",
        *_prose(
            f"A service is configured by its environment alone. Every variable begins with `{PREFIX}`. A service",
            "that finds a required variable missing, or any variable malformed or insecure, prints every problem",
            'and exits with code 2. Lists are JSON: `["10.0.0.0/8"]`.',
            "[`settings.schema.json`](settings.schema.json) says the same as JSON Schema.",
        ),
        "",
        *_prose(
            "`cordboard up` sets what the services on one machine need. `cordboard up --settings FILE` adds more from",
            "a YAML file: a section for each service, or `*` for all of them, with the names below in lower case and",
            "without the prefix. Keep such a file to yourself when there are passwords in it.",
        ),
        "",
        "```yaml",
        "telemetry:",
        "  alert_webhook_url: https://alerts.example.com/cordboard",
        "  alert_group_seconds: 30",
        '"*":',
        "  access_log: all",
        "```",
        "",
        "## Every service",
        "",
        *_settings_table(shared, shared["properties"]),
    ]
    for service, kind in kinds.items():
        own = schema(kind)[kind.__name__]
        required = set(own["required"]) - set(shared["required"])
        different = {
            name: field
            for name, field in own["properties"].items()
            if name in required or _described(field) != _described(shared["properties"].get(name, {}))
        }
        lines += ["", f"## {service}", ""]
        if different:
            lines += ["Beside, or in place of, the variables above:", "", *_settings_table(own, different)]
        else:
            lines += ["The variables above, and no other."]
    lines += [
        "",
        "## Beside the services",
        "",
        "| Variable | Read by | What it is |",
        "| --- | --- | --- |",
        _row(
            (
                f"`{migrate.URL_VARIABLE}`",
                "`python -m cordboard.core.migrate`",
                "the URL of the role that owns the schemas",
            )
        ),
        "| `CORDBOARD_STATE_DIR` | the CLI | where the mesh on this machine keeps its state; `.cordboard` by default |",
        f"| `{profiles.PROFILE_VARIABLE}` | the CLI | the profile to use when `--profile` is not given |",
        f"| `{profiles.TOKEN_VARIABLE}` | the CLI | the token for a remote profile; wins over its token file |",
        "| `CORDBOARD_CLIENT_SECRET` | `cordboard oauth-client` | the OAuth client secret, in place of the prompt |",
    ]
    return _page(lines)


def _settings_table(described: dict[str, Any], fields: dict[str, Any]) -> list[str]:
    lines = ["| Variable | Type | Default | What it is |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        default = "**required**" if name in described["required"] else _default(field)
        lines.append(_row((f"`{name}`", _type(field), default, field.get("description", "").replace("|", "\\|"))))
    return lines


def _described(field: dict[str, Any]) -> tuple[Any, ...]:
    return field.get("description"), field.get("default"), _type(field)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "empty" if value in ("", [], None) else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("format") == "password":
        return "secret"
    if field.get("format") in ("path", "directory-path"):
        return "path"
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    text = kind.get(field.get("type", ""), "list" if field.get("type") == "array" else field.get("type", ""))
    bounds = [
        f"{word} {field[key]}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in field
    ]
    return f"{text}, {' '.join(bounds)}" if bounds else text


PAGES: Final[dict[str, Callable[[], str]]] = {
    "errors.md": errors_page,
    "access.md": access_page,
    "settings.md": settings_page,
    "settings.schema.json": settings_schema,
}


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule_line(columns: int) -> str:
    return _row(["---"] * columns)


def _prose(*parts: str) -> list[str]:
    return textwrap.wrap(" ".join(parts), 118, break_long_words=False, break_on_hyphens=False)


def _page(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def stale(folder: Path = DOCS) -> list[str]:
    """Returns the names of the pages in `folder` that do not say what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != page()
    ]


def main(arguments: Sequence[str]) -> int:
    """Writes the pages, or with `--check` names those that are not current; returns the exit code."""
    if list(arguments) == ["--check"]:
        names = stale()
        for name in names:
            sys.stderr.write(f"docs/{name} is not current: run `make docs`\n")
        return 1 if names else 0
    if arguments:
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
