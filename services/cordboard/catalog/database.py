"""What a definition of a database must mean: where it is, and that its actions' statements can be run as they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cordboard.catalog.findings import shown
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.statements import parameters, reads

if TYPE_CHECKING:
    from cordboard.catalog.findings import Findings

MAX_ROWS: Final = 10_000
MAX_STATEMENT: Final = 65_536
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_.-]|\{[A-Za-z_][A-Za-z0-9_.-]*\}){1,128}", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_WRITES_FILES: Final = re.compile(r"\bINTO\s+(OUTFILE|DUMPFILE)\b", re.IGNORECASE)


def check_database(definition: pb.Definition, found: Findings) -> None:
    """Notes everything that keeps the statements of a definition from being run."""
    if not definition.HasField("database"):
        for index, action in enumerate(definition.actions):
            if action.HasField("statement"):
                found.below("actions", index).add("statement", "needs a definition with `database`")
        return
    database, below = definition.database, found.below("database")
    variables = {one.name for one in definition.config_variables}
    below.require(bool(database.engine), "engine", "must be one of those that are known")
    named = _NAME.fullmatch(database.name) is not None
    below.require(named, "name", "must be the name of a database, or `{name}` of a config variable")
    for name in _PLACEHOLDER.findall(database.name):
        below.require(name in variables, "name", f"nothing stands for {shown('{' + name + '}')}")
    below.require(0 <= database.max_rows <= MAX_ROWS, "max_rows", f"must be from 0 to {MAX_ROWS}")
    if database.authority_variable:
        known = database.authority_variable in variables
        below.require(known, "authority_variable", "is not one of the config variables")
    for index, scheme in enumerate(definition.auth_schemes):
        if scheme.WhichOneof("kind") != "basic":
            found.below("auth_schemes", index).add("", "must be `basic`: a database knows a user and a password")
    for index, action in enumerate(definition.actions):
        _check_action(action, found.below("actions", index))
        if database.engine == pb.DATABASE_ENGINE_MYSQL and _WRITES_FILES.search(action.statement.text):
            # A transaction that reads only does not hold this back.
            found.below("actions", index).add("statement.text", "must not write files of the server (INTO OUTFILE)")


def _check_action(action: pb.Action, found: Findings) -> None:
    if not action.HasField("statement"):
        found.add("statement", "is required: the integration is a database")
        return
    text, request = action.statement.text, action.request
    method = request.method.upper()
    found.require(method in ("GET", "POST"), "request.method", "must be GET, which reads only, or POST")
    found.require(request.path == "/", "request.path", "must be `/`: the statement says what is asked for")
    if request.HasField("body") or request.constants or request.headers or request.server_url:
        found.add("request", "may have nothing but `method`, `path` and `parameters`: there is no HTTP here")
    if action.HasField("paging") or action.HasField("async_job") or action.streaming:
        found.add("", "cannot have pages, jobs or streams: the statement's limit is the page")
    wanted, told = set(parameters(text)), [one.name for one in request.parameters]
    if any(one.placement != pb.PLACEMENT_QUERY for one in request.parameters):
        found.add("request.parameters", "must all be placed in the query: they are the statement's parameters")
    if len(text) > MAX_STATEMENT or "\0" in text or ";" in text.rstrip().removesuffix(";"):
        found.add("statement.text", f"must be one statement of at most {MAX_STATEMENT} characters, without `;`")
    for name in sorted(wanted - set(told)):
        found.add("statement.text", f"no parameter of the request stands for {shown(':' + name)}")
    for name in sorted(set(told) - wanted):
        found.add("request.parameters", f"{shown(name)} does not stand in the statement")
    if method == "GET" and not reads(text):
        found.add(
            "statement.text", "must begin as what reads does (SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN), or be a POST"
        )
