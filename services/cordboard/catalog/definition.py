"""What a definition must mean to be published, and the hash of what it says.

`check` finds everything that is wrong at once. What it lets through, the Proxy can run: every placeholder and property
is bound, every schema compiles, and no text can change the shape of a request.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.action import ActionCheck, object_schema
from cordboard.catalog.auth_scheme import check_auth_schemes
from cordboard.catalog.capabilities import check_capabilities
from cordboard.catalog.database import check_database
from cordboard.catalog.document import to_plain
from cordboard.catalog.event import check_events
from cordboard.catalog.examples import example_problems
from cordboard.catalog.findings import Findings, shown
from cordboard.catalog.gateway import check_gateway
from cordboard.catalog.reference import check_references
from cordboard.catalog.response import check_error_rules, check_rate_limit_headers, check_retry
from cordboard.catalog.schemas import NAME, compile_problems, wording_problem
from cordboard.catalog.semver import SemVer
from cordboard.catalog.shape import check_shape
from cordboard.catalog.syntax import (
    LINE,
    foreign,
    host_of,
    host_problem,
    is_line,
    is_prose,
    mixed_word,
    named_host,
    placeholders,
    url_problem,
)
from cordboard.catalog.translation import check_translations
from cordboard.catalog.v1.definition_pb2 import Action, Category, Definition
from cordboard.catalog.variable import check_config_variables
from cordboard.core.errors import InvalidFields

if TYPE_CHECKING:
    from collections.abc import Collection

    from cordboard.catalog.v1.definition_pb2 import Server
    from cordboard.core.errors import Violation

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_ACTIONS: Final = 5000
MAX_SERVERS: Final = 50
MAX_VIOLATIONS: Final = 100
MAX_TEXT: Final = 4096

# Words of the resource names and of the command line: a slug of these would be read as something else.
RESERVED_SLUGS: Final = frozenset(
    [
        "actions",
        "active",
        "all",
        "any",
        "catalog",
        "cordboard",
        "default",
        "edges",
        "integrations",
        "latest",
        "new",
        "none",
        "null",
        "pins",
        "self",
        "sources",
        "system",
        "undefined",
        "versions",
        "workspaces",
    ]
)

_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_VALUE: Final = re.compile(r"[A-Za-z0-9._~:/@+-]{1,255}", re.ASCII)


def check(definition: Definition) -> None:
    """Raises InvalidFields with everything that keeps a definition from being published, up to MAX_VIOLATIONS."""
    violations = problems(definition) or list(example_problems(definition))
    if violations:
        raise InvalidFields(violations[:MAX_VIOLATIONS])


def problems(definition: Definition) -> list[Violation]:
    """Returns everything that keeps a definition from being published."""
    found = Findings()
    if definition.ByteSize() > MAX_BYTES:
        found.add("actions", f"make the definition larger than {MAX_BYTES // 1024 // 1024} MiB")
        return found.violations
    check_shape(definition, found)
    _check_head(definition, found)
    _check_servers(definition, found)
    check_config_variables(definition, found)
    check_auth_schemes(definition, found)
    check_rate_limit_headers(definition.rate_limit_headers, found.below("rate_limit_headers"))
    for index, headers in enumerate(definition.more_rate_limit_headers):
        check_rate_limit_headers(headers, found.below("more_rate_limit_headers", index))
    if definition.HasField("retry"):
        check_retry(definition.retry, found.below("retry"))
    paged = any(action.HasField("paging") for action in definition.actions)
    check_error_rules(definition.error_rules, found, paged=paged)
    check_gateway(definition, found)
    check_database(definition, found)
    check_capabilities(definition, found)
    _check_actions(definition, found)
    check_translations(definition, found)
    return found.violations


def canonical(definition: Definition) -> bytes:
    """Returns the canonical JSON of a definition: its fields by name without `version`, keys sorted, no white space.

    JSON Schemas are in it as text, so that the order of their properties, which people see in forms, counts.
    """
    plain = to_plain(definition, schemas_as_text=True)
    plain.pop("version", None)
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def content_hash(definition: Definition) -> str:
    """Returns the SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(definition)).hexdigest()


def _check_head(definition: Definition, found: Findings) -> None:
    found.require(
        _SLUG.fullmatch(definition.slug) is not None,
        "slug",
        "must be 2 to 63 of a-z, 0-9 and hyphens, begin with a letter and not end in a hyphen"
        + foreign(definition.slug),
    )
    # `rpartition`: a private integration has its workspace's id before its own slug.
    found.require(definition.slug.rpartition("--")[2] not in RESERVED_SLUGS, "slug", "is a reserved word")
    mixed = mixed_word(definition.title)
    found.require(not mixed, "title", f"mixes letters of different scripts in {shown(mixed)}")
    if definition.version:
        found.require(SemVer.parse(definition.version) is not None, "version", "must be a semantic version: 1.4.0")
    found.require(
        len(definition.title.strip()) > 0 and len(definition.title) <= 200 and is_line(definition.title),
        "title",
        LINE,
    )
    found.require(
        len(definition.description) <= MAX_TEXT and is_prose(definition.description),
        "description",
        f"must be text of at most {MAX_TEXT} characters",
    )
    found.require(len(definition.owner) <= 200 and is_line(definition.owner), "owner", LINE)
    if definition.documentation_uri:
        problem = url_problem(definition.documentation_uri, base=False)
        found.require(not problem, "documentation_uri", problem)
    found.require(
        len(definition.tags) <= 64 and all(0 < len(tag) <= 64 and is_line(tag) for tag in definition.tags),
        "tags",
        "must be at most 64 short texts",
    )


def _check_servers(definition: Definition, found: Findings) -> None:
    if definition.category in (Category.CATEGORY_UNSPECIFIED, Category.CATEGORY_API) and not definition.servers:
        found.add("servers", "an API needs at least one")
    found.require(len(definition.servers) <= MAX_SERVERS, "servers", f"must be at most {MAX_SERVERS}")
    variables = {one.name for one in definition.config_variables if not one.secret}
    ids: set[str] = set()
    for index, server in enumerate(definition.servers[:MAX_SERVERS]):
        below = found.below("servers", index)
        _check_server(server, variables, below)
        below.require(not server.id or server.id not in ids, "id", f"{shown(server.id)} stands there already")
        ids.add(server.id)
    # A host that each connection chooses is a host of the list only as one of the servers has it.
    chosen = {named_host(server.url) for server in definition.servers if "{" in host_of(server.url)}
    for index, host in enumerate(definition.allowed_hosts):
        problem = "" if host in chosen else host_problem(host)
        found.require(not problem, f"allowed_hosts[{index}]", problem)


def _check_server(server: Server, variables: Collection[str], found: Findings) -> None:
    problem = url_problem(server.url, placeholders_allowed=True)
    if problem:
        found.add("url", problem)
    found.require(is_prose(server.description), "description", "must be text")
    wanted = set(placeholders(server.url))
    known: set[str] = set()
    for index, variable in enumerate(server.variables):
        below = found.below("variables", index)
        below.require(_VARIABLE.fullmatch(variable.name) is not None, "name", "is not a variable's name")
        below.require(variable.name not in known, "name", f"{shown(variable.name)} stands there already")
        below.require(variable.name in wanted, "name", f"{shown(variable.name)} is not in the URL")
        known.add(variable.name)
        for position, value in enumerate(variable.allowed_values):
            held = _VALUE.fullmatch(value) is not None
            below.require(held, f"allowed_values[{position}]", "cannot stand in a URL's host or path")
        if variable.default_value:
            below.require(
                _VALUE.fullmatch(variable.default_value) is not None,
                "default_value",
                "cannot stand in a URL's host or path",
            )
            if variable.allowed_values and variable.default_value not in variable.allowed_values:
                below.add("default_value", "is not one of the allowed values")
    for name in sorted(wanted - known - set(variables)):
        found.add("url", f"{{{name}}} is neither one of the variables nor a config variable that is not secret")


def _check_actions(definition: Definition, found: Findings) -> None:
    if len(definition.actions) > MAX_ACTIONS:
        found.add("actions", f"are more than {MAX_ACTIONS}")
        return
    shared = object_schema(definition.schemas_json)
    if shared is None:
        found.add("schemas", "must be a mapping")
        shared = {}
    sound: dict[str, Any] = {}
    for name, schema in shared.items():
        problem = "" if NAME.fullmatch(name) else "has a name that `$ref` cannot use"
        problem = problem or wording_problem(schema, shared)
        if problem:
            found.add(f"schemas.{name}", problem)
        else:
            sound[name] = schema
    one = ActionCheck(shared, definition)
    ids: Counter[str] = Counter()
    hosts = _reachable_hosts(definition)
    for index, action in enumerate(definition.actions):
        below = found.below("actions", index)
        one.run(action, below, f"actions[{index}]")
        ids[action.id] += 1
        below.require(ids[action.id] == 1, "id", f"{shown(action.id)} stands there already")
        server_url = action.request.server_url
        if server_url and not url_problem(server_url) and host_of(server_url) not in hosts:
            below.add(
                "request.server_url", f"leads to {shown(host_of(server_url))}, which `allowed_hosts` does not name"
            )
    payloads = check_events(definition, shared, found)
    if len(sound) == len(shared):
        for path, problem in compile_problems(shared, {**one.schemas, **payloads}).items():
            found.add(path.replace("$defs/", "schemas.", 1) or "schemas", problem)
    check_references(definition, found)
    _check_check_action(definition, found)


def _reachable_hosts(definition: Definition) -> set[str]:
    if definition.allowed_hosts:
        return set(definition.allowed_hosts)
    urls = [server.url for server in definition.servers if not url_problem(server.url, placeholders_allowed=True)]
    return {host for host in map(host_of, urls) if "{" not in host}


def _check_check_action(definition: Definition, found: Findings) -> None:
    if not definition.check_action:
        return
    chosen: Action | None = next((one for one in definition.actions if one.id == definition.check_action), None)
    if chosen is None:
        found.add("check_action", f"{shown(definition.check_action)} is not one of the actions")
    elif (object_schema(chosen.input_schema_json) or {}).get("required"):
        found.add("check_action", f"{shown(chosen.id)} has required inputs, and it is called with none")
