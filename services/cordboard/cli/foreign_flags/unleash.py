"""Unleash's features, as far as typed rules say what their strategies say, and flags as features.

Who falls into a share is not the same there and here: the hash is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.struct_pb2 import Value

from cordboard.cli.foreign_flags.words import CONDITIONS, Unsayable
from cordboard.flags.v1 import flag_service_pb2 as pb

# What Unleash calls the subject is a workspace here.
SUBJECTS: Final = {"userId": "workspace", "workspaceId": "workspace"}


def to_unleash(flags: Sequence[pb.Flag]) -> dict[str, Any]:
    """Returns flags in Unleash's format: a feature for each, a strategy for each rule that gives a variant."""
    return {"version": 1, "features": [_feature(flag) for flag in flags]}


def features_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the features of an export; where strategies stand apart, each holds in its environment alone."""
    if "featureStrategies" not in document:
        yield from ((str(one.get("name", "")), one) for one in document["features"] if isinstance(one, dict))
        return
    on = {
        (str(each.get("name") or each.get("featureName")), str(each.get("environment", "")))
        for each in document.get("featureEnvironments", ())
        if isinstance(each, dict) and each.get("enabled")
    }
    for feature in document["features"]:
        name = str(feature.get("name", ""))
        strategies = []
        for each in document["featureStrategies"]:
            if not isinstance(each, dict) or each.get("featureName") != name:
                continue
            environment = str(each.get("environment", ""))
            if (name, environment) in on:
                limit = {"contextName": "environment", "operator": "IN", "values": [environment]}
                strategies.append({**each, "constraints": [*each.get("constraints", ()), limit]})
        yield name, {**feature, "enabled": bool(strategies), "strategies": strategies}


def from_unleash(key: str, feature: Any) -> pb.Flag:
    """Returns a flag; raises Unsayable."""
    if not isinstance(feature, dict):
        raise Unsayable("is no feature")
    if feature.get("variants"):
        raise Unsayable("has variants beside on and off")
    if feature.get("dependencies"):
        raise Unsayable("depends on another feature")
    flag = pb.Flag(
        name=f"flags/{key}",
        description=str(feature.get("description") or ""),
        variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
        default_variant="off",
        off_variant="off",
    )
    strategies = feature.get("strategies") or []
    if not feature.get("enabled"):
        return flag
    if not strategies:
        flag.rules.add(variant="on")
    for strategy in strategies:
        rule = None if strategy.get("disabled") else _strategy(key, strategy)
        if rule is not None:
            flag.rules.append(rule)
    return flag


def _strategy(key: str, strategy: Mapping[str, Any]) -> pb.Rule | None:
    """Returns the rule of a strategy, None for one that reaches nobody."""
    if strategy.get("segments"):
        raise Unsayable("has a strategy with segments")
    if strategy.get("variants"):
        raise Unsayable("has a strategy with variants")
    rule, parameters = pb.Rule(), strategy.get("parameters") or {}
    for constraint in strategy.get("constraints") or []:
        _constraint(rule, constraint)
    name = strategy.get("name")
    if name in ("default", None):
        rule.variant = "on"
    elif name == "userWithId":
        ids = [each.strip() for each in str(parameters.get("userIds", "")).split(",") if each.strip()]
        rule.workspaces.extend(ids)
        rule.variant = "on"
    elif name in ("flexibleRollout", "gradualRolloutUserId"):
        share = _share(parameters)
        if not share:
            return None
        rule.variant = "on"
        if share < 100:
            rule.slices.add(group=str(parameters.get("groupId") or key), begin=0, end=share * 100)
    else:
        raise Unsayable(f"has a strategy {name!r}")
    return rule


def _share(parameters: Mapping[str, Any]) -> int:
    if parameters.get("stickiness", "default") not in ("default", "userId", "workspaceId"):
        raise Unsayable("has a strategy that sticks to something else than the subject")
    try:
        share = int(parameters.get("rollout", parameters.get("percentage", 100)))
    except (TypeError, ValueError):
        share = -1
    if not 0 <= share <= 100:
        raise Unsayable("has a rollout that is no percentage")
    return share


def _constraint(rule: pb.Rule, constraint: Any) -> None:
    name = str(constraint.get("contextName", ""))
    name = SUBJECTS.get(name, name)
    if name not in CONDITIONS:
        raise Unsayable(f"has a constraint on {name!r}")
    if constraint.get("operator") != "IN" or constraint.get("inverted") or constraint.get("caseInsensitive"):
        raise Unsayable("has a constraint that is no list of values")
    field = getattr(rule, CONDITIONS[name])
    if field:
        raise Unsayable(f"asks for {name} twice in one strategy")
    field.extend(map(str, constraint.get("values") or []))


def _feature(flag: pb.Flag) -> dict[str, Any]:
    key = flag.name.partition("/")[2]
    values = {
        name: value.WhichOneof("kind") == "bool_value" and value.bool_value for name, value in flag.variants.items()
    }
    if any(value.WhichOneof("kind") != "bool_value" for value in flag.variants.values()):
        raise Unsayable(f"{key}: has variants that are not on or off")
    if flag.prerequisites:
        raise Unsayable(f"{key}: needs other flags")
    strategies = []
    for rule in flag.rules:
        if rule.segments or rule.opt_in or rule.split or not values.get(rule.variant) or len(rule.slices) > 1:
            why = "it switches off, splits, or has segments, own choices or several slices"
            raise Unsayable(f"{key}: has a rule that is no strategy: {why}")
        strategies.append(_as_strategy(key, rule))
    if values[flag.default_variant]:
        strategies.append({"name": "default", "parameters": {}, "constraints": []})
    enabled = bool(strategies) and not flag.killed
    return {
        "name": key,
        "description": flag.description,
        "type": "release",
        "enabled": enabled,
        "strategies": strategies,
        "variants": [],
    }


def _as_strategy(key: str, rule: pb.Rule) -> dict[str, Any]:
    constraints = [
        {"contextName": name, "operator": "IN", "values": list(getattr(rule, field))}
        for name, field in CONDITIONS.items()
        if getattr(rule, field)
    ]
    if not rule.slices:
        return {"name": "default", "parameters": {}, "constraints": constraints}
    part = rule.slices[0]
    if part.begin or part.end % 100:
        raise Unsayable(f"{key}: has a slice that does not begin at 0, or is no whole percentage")
    parameters = {"rollout": str(part.end // 100), "stickiness": "workspaceId", "groupId": part.group}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": constraints}
