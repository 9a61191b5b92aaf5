"""flagd's flag definitions, as far as they say what typed rules say: all that is exported here, and what is like it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from cordboard.cli.foreign_flags.admission import flag_problems
from cordboard.cli.foreign_flags.words import CONDITIONS, VARIANT, Unsayable
from cordboard.core.flagging import RuleBroken, inlined
from cordboard.flags.v1 import flag_service_pb2 as pb

WHOLE: Final = 10_000


def keyed(flags: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yields the flags of a list, as flagd takes it too, with their keys; what has none is named by its place."""
    for place, each in enumerate(flags):
        key = each.get("key") if isinstance(each, Mapping) else None
        yield (key if isinstance(key, str) and key else f"flags[{place}]"), each


def from_flagd(key: str, content: Any, evaluators: Mapping[str, Any]) -> pb.Flag:
    """Returns a flag; raises Unsayable. `evaluators` are the rules that it may refer to."""
    for problem in flag_problems(content):
        raise Unsayable(f"is not as flagd has it: {problem}")
    if content["state"] != "ENABLED":
        raise Unsayable("is disabled: ours give a variant to everybody, or are killed")
    default = content.get("defaultVariant")
    if not default:
        raise Unsayable("has no default variant")
    flag = pb.Flag(name=f"flags/{key}", default_variant=default)
    for name, value in content["variants"].items():
        if not VARIANT.fullmatch(name):
            raise Unsayable(f"the variant {name!r} cannot be called so here")
        flag.variants[name].CopyFrom(json_format.ParseDict(value, Value()))
    targeting = content.get("targeting")
    if targeting:
        try:
            flag.rules.extend(_rules(key, inlined(targeting, evaluators)))
        except RuleBroken as problem:
            raise Unsayable(f"its targeting {problem}") from None
    return flag


def _rules(key: str, targeting: Any) -> Iterator[pb.Rule]:
    operands = _operands(targeting, "if")
    if operands is None:
        raise Unsayable("its targeting is no `if`")
    for index in range(0, len(operands) - 1, 2):
        rule = pb.Rule()
        _condition(rule, operands[index])
        _outcome(key, rule, operands[index + 1])
        yield rule
    if len(operands) % 2 and operands[-1] is not None:
        rule = pb.Rule()
        _outcome(key, rule, operands[-1])
        yield rule


def _condition(rule: pb.Rule, test: Any) -> None:
    if test is True:
        return
    both = _operands(test, "and")
    if both is not None:
        for each in both:
            _condition(rule, each)
        return
    # A split is of workspaces: whoever has none fits no rule that has one.
    if _operands(test, "!!") in ([{"var": "workspace"}], [{"var": ["workspace"]}]):
        return
    within = _slice(test)
    if within is not None:
        rule.slices.append(within)
        return
    name, values = _membership(test)
    field = getattr(rule, CONDITIONS[name])
    if field:
        raise Unsayable(f"asks for {name} twice in one condition")
    field.extend(values)


def _membership(test: Any) -> tuple[str, list[str]]:
    for operator in ("in", "=="):
        found = _operands(test, operator)
        if found is None or len(found) != 2:
            continue
        variable = _operands(found[0], "var")
        values = found[1] if operator == "in" else [found[1]]
        if variable and variable[0] in CONDITIONS and isinstance(values, list) and values:
            if not all(isinstance(each, str) and each for each in values):
                raise Unsayable(f"compares {variable[0]} with what is no text")
            return str(variable[0]), values
    raise Unsayable(f"has a condition that is no list of {', '.join(CONDITIONS)}")


def _slice(test: Any) -> pb.Slice | None:
    found = _operands(test, "==")
    if found is None or len(found) != 2 or found[1] != "in":
        return None
    shares = _operands(found[0], "fractional")
    subject = _operands(shares[0], "cat") if shares else None
    if not shares or not subject or len(subject) != 2 or subject[1] != {"var": "workspace"}:
        return None
    weights = {each[0]: each[1] for each in shares[1:] if isinstance(each, list) and len(each) == 2}
    begin = weights.get("before", 0)
    if sum(weights.values()) != WHOLE or not isinstance(subject[0], str) or not subject[0].endswith("/"):
        return None
    return pb.Slice(group=subject[0][:-1], begin=begin, end=begin + weights.get("in", 0))


def _outcome(key: str, rule: pb.Rule, outcome: Any) -> None:
    if isinstance(outcome, str):
        rule.variant = outcome
        return
    shares = _operands(outcome, "fractional")
    if not shares:
        raise Unsayable("gives neither a variant nor a split")
    # With another subject everybody would change places.
    if _operands(shares[0], "cat") != [key, {"var": "workspace"}]:
        raise Unsayable("splits by something else than the flag's key and the workspace")
    for each in shares[1:]:
        if not (isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], int)):
            raise Unsayable("has a share that is not a variant and a weight")
        rule.split.add(variant=each[0], weight=each[1])


def _operands(node: Any, operator: str) -> list[Any] | None:
    if not isinstance(node, dict) or list(node) != [operator]:
        return None
    found = node[operator]
    return found if isinstance(found, list) else [found]
