"""Breaks each check of the code that decides who gets in, one at a time, and counts what the tests do not notice.

`python -m tests.scale.mutants [MODULE...]`. A mutant is one module with one change: a condition that always holds or
never does, an operand of a condition left out, a comparison turned or moved to its edge, an error that is not raised.
Its own unit tests run on it in a process of their own. Those that live are printed, with the reason where one is known.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

# What the tests need is loaded once, and not once for each mutant.
PRELOADED: Final = (
    "cordboard.auth.__main__",
    "cordboard.local.mesh",
    "cordboard.sandbox",
    "cryptography.x509",
)
TARGETS: Final = {
    "cordboard.core.tokens": "tests/unit/core/test_tokens.py",
    "cordboard.core.api_keys": "tests/unit/core/test_api_keys.py",
    "cordboard.core.access": "tests/unit/core/test_access.py",
    "cordboard.auth.envelope": "tests/unit/auth/test_envelope.py",
    "cordboard.core.egress": "tests/unit/proxy/test_egress.py",
}
# What may live, and why: by the module and what the mutant says of itself, without the line.
EXPLAINED: Final[dict[tuple[str, str], str]] = {
    ("cordboard.core.tokens", "always: known is None or known.caller.peer != peer"): "it checks again what it knows",
    ("cordboard.core.tokens", "always: text != self._key_text"): "it checks again what it knows",
    ("cordboard.core.tokens", "always: not fetching.cancelled()"): "only the end of the process cancels it",
    ("cordboard.core.tokens", "never: not fetching.cancelled()"): "each caller's shield looks at it too",
    (
        "cordboard.core.tokens",
        """without "header.get('alg') != ALGORITHM": header.get('alg') != ALGORITHM or header.get('typ') != TYPE """
        """or set(header) - {'alg', 'typ', 'kid'}""",
    ): "the library takes no other algorithm either",
    (
        "cordboard.core.access",
        "without 'isinstance(value, str)': isinstance(value, str) and value.startswith('workspaces/') "
        "and (value.split('/')[1] != caller.workspace)",
    ): "no rule names a field that is not a text",
    ("cordboard.core.api_keys", "always: not task.cancelled()"): "only the end of the process cancels it",
    ("cordboard.core.api_keys", "never: not task.cancelled()"): "each caller's shield looks at it too",
    ("cordboard.core.egress", "never: len(chunks) == 1"): "one piece joined is that piece",
    ("cordboard.core.egress", "never: isinstance(network, Network)"): "the network of a network is itself",
    ("cordboard.core.egress", "never: resolver is not self._resolver"): "its threads end when nobody knows it any more",
    ("cordboard.core.egress", "turned to 'at > 0': at >= 0"): "what begins with a slash has no host, and is refused",
}
SECONDS: Final = 120.0
_EDGES: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}


@dataclass(frozen=True)
class Mutant:
    """One change: what it is, on which line, and the module with it."""

    what: str
    line: int
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Yields every mutant of a module, outermost first."""
    original = ast.parse(source)
    for index, found in enumerate(list(ast.walk(original))):
        if not isinstance(found, (ast.If, ast.IfExp, ast.BoolOp, ast.Compare, ast.Raise)):
            continue
        for turn in range(8):
            tree = copy.deepcopy(original)
            node = next(node for place, node in enumerate(ast.walk(tree)) if place == index)
            before = ast.unparse(node) if isinstance(node, (ast.expr, ast.Raise)) else ""
            line = getattr(node, "lineno", 0)
            if _typing_only(tree, node) or not (what := _changed(tree, node, turn)):
                break
            yield Mutant(what.replace("{}", before), line, ast.fix_missing_locations(tree))


def _changed(tree: ast.Module, node: ast.AST, turn: int) -> str:
    """Makes the change of this turn at a node; returns what it is, or nothing when there are no more."""
    if isinstance(node, (ast.If, ast.IfExp)) and turn < 2:
        before, node.test = ast.unparse(node.test), ast.Constant(turn == 0)
        return f"{'always' if turn == 0 else 'never'}: {before}"
    if isinstance(node, ast.BoolOp) and turn < len(node.values):
        return f"without {ast.unparse(node.values.pop(turn))!r}: {{}}"
    if isinstance(node, ast.Compare) and turn < len(_EDGES.get(type(node.ops[0]), ())):
        node.ops[0] = _EDGES[type(node.ops[0])][turn]()
        return f"turned to {ast.unparse(node)!r}: {{}}"
    if isinstance(node, ast.Raise) and turn == 0:
        return "not raised: {}" if _replaced(tree, node, ast.Pass()) else ""
    return ""


def _replaced(tree: ast.Module, node: ast.stmt, by: ast.stmt) -> bool:
    for parent in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and node in block:
                block[block.index(node)] = by
                return True
    return False


def _typing_only(tree: ast.Module, node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.If) and ast.unparse(each.test) == "TYPE_CHECKING" and node in ast.walk(each)
        for each in tree.body
    )


def noticed(name: str, mutant: Mutant, tests: str) -> bool:
    """Runs a module's tests on a mutant of it; tells whether one failed, or they did not end in time."""
    child = os.fork()
    if child == 0:
        _run(name, mutant, tests)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _run(name: str, mutant: Mutant, tests: str) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    code = 1
    try:
        _put_in(importlib.import_module(name), compile(mutant.tree, _file(name), "exec"))
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests]))
    finally:
        os._exit(code)


def _put_in(module: types.ModuleType, changed: types.CodeType) -> None:
    # Others hold the functions and classes themselves: they stay, and get other code.
    codes = {code.co_qualname: code for code in _codes(changed)}
    for owner in (module, *(each for each in vars(module).values() if isinstance(each, type))):
        for each in list(vars(owner).values()):
            held = each.__func__ if isinstance(each, (classmethod, staticmethod)) else each
            function = held.fget if isinstance(held, property) else held
            if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
                function.__code__ = codes.get(function.__qualname__, function.__code__)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _file(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return spec.origin


def measure(name: str) -> tuple[int, list[Mutant]]:
    """Returns how many mutants of a module there are, and those that no test notices and nothing explains."""
    found = list(mutants(Path(_file(name)).read_text(encoding="utf-8")))
    lived = []
    for mutant in found:
        if noticed(name, mutant, TARGETS[name]):
            continue
        reason = EXPLAINED.get((name, mutant.what))
        print(f"{'same' if reason else 'LIVED'} {name}:{mutant.line} {mutant.what} {reason or ''}", flush=True)
        if reason is None:
            lived.append(mutant)
    return len(found), lived


def main() -> None:
    """Measures every module, or those that are named; ends with 1 where a mutant lived without a reason."""
    for each in PRELOADED:
        importlib.import_module(each)
    lived = 0
    for name in [each for each in sys.argv[1:] if each in TARGETS] or list(TARGETS):
        began = time.monotonic()
        count, alive = measure(name)
        lived += len(alive)
        print(f"{name}: {count} mutants, {len(alive)} lived, {time.monotonic() - began:.0f} s", flush=True)
    if lived:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
