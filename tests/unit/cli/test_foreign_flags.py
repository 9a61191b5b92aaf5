"""Flags of other tools: what can be said here comes out as it went in, and what cannot is said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cordboard.cli.flag_review import staleness
from cordboard.cli.foreign_flags.documents import read
from cordboard.cli.foreign_flags.own import to_own
from cordboard.cli.foreign_flags.unleash import to_unleash
from cordboard.cli.foreign_flags.words import Unsayable
from cordboard.core.flagging import FlagSet
from cordboard.core.structs import to_value
from cordboard.flags.compilation import compiled
from cordboard.flags.content import Content, Rule, Share, Slice
from cordboard.flags.messages import content_of
from cordboard.flags.v1 import flag_service_pb2 as pb

KEY = "integration.desk"
ON_OFF: dict[str, Any] = {"on": True, "off": False}
RULES = (
    Rule(tiers=("business",), regions=("eu", "us"), variant="on"),
    Rule(workspaces=("acme",), variant="on", slices=(Slice("group", 100, 2_000), Slice("other", 0, 10_000))),
    Rule(environments=("staging",), split=(Share("on", 3), Share("off", 7))),
    Rule(customers=("c-1",), variant="off"),
    Rule(variant="on", slices=(Slice(KEY, 9_000, 10_000),)),
)


def flagd(**flags: Any) -> dict[str, Any]:
    return {"flags": flags}


def plain(**changes: Any) -> dict[str, Any]:
    return {"state": "ENABLED", "variants": ON_OFF, "defaultVariant": "off", **changes}


def test_what_is_exported_as_flagd_is_imported_as_it_was() -> None:
    content = Content(ON_OFF, "off", RULES)
    document = {"flags": {KEY: compiled(KEY, content, killed=False, revision=3)}}
    [flag] = read(document).flags
    key, found = content_of(flag)
    assert (key, found.rules, found.default_variant) == (KEY, RULES, "off")
    again = {"flags": {KEY: compiled(KEY, found, killed=False, revision=3)}}
    assert again == document


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        (plain(state="DISABLED"), "is disabled"),
        (plain(defaultVariant=None), "has no default variant"),
        (plain(variants={}), "is not as flagd has it: variants must be an object with at least one"),
        (plain(targeting={"if": [{"$ref": "none"}, "on"]}), "its targeting refers to 'none', which is none of"),
        (plain(targeting={"==": [1, 1]}), "its targeting is no `if`"),
        (plain(targeting={"if": [{">": [{"var": "age"}, 18]}, "on"]}), "has a condition that is no list"),
        (plain(targeting={"if": [{"in": [{"var": "email"}, ["a"]]}, "on"]}), "has a condition that is no list"),
        (plain(targeting={"if": [{"in": [{"var": "tier"}, [1]]}, "on"]}), "compares tier with what is no text"),
        (plain(targeting={"if": [True, {"fractional": [["on", 1]]}]}), "splits by something else"),
        (plain(targeting={"if": [True, {"var": "x"}]}), "gives neither a variant nor a split"),
    ],
)
def test_what_cannot_be_said_is_left_out_with_the_reason(flag: dict[str, Any], why: str) -> None:
    found = read(flagd(bad=flag, good=plain()))
    assert [one.name for one in found.flags] == ["flags/good"]
    assert found.left_out["bad"].startswith(why)


def test_a_list_of_flagd_s_and_what_rules_refer_to_are_read_too() -> None:
    business = {"in": [{"var": "tier"}, ["business"]]}
    named = {"key": "named", **plain(targeting={"if": [{"$ref": "businesses"}, "on"]})}
    found = read({"flags": [named, plain()], "$evaluators": {"businesses": business}})
    [flag] = found.flags
    assert (flag.name, [(list(rule.tiers), rule.variant) for rule in flag.rules]) == (
        "flags/named",
        [(["business"], "on")],
    )
    assert found.left_out == {
        "flags[1]": "its name is no key: letters, digits, dots, underscores and hyphens, at most 200"
    }


def test_what_is_wrong_with_the_whole_set_is_said() -> None:
    with pytest.raises(Unsayable, match=r"metadata\.team must be text"):
        read({"flags": {"good": plain()}, "metadata": {"team": []}})
    with pytest.raises(Unsayable, match=r"\$evaluators\.a has the operator 'nope'"):
        read({"flags": {"good": plain()}, "$evaluators": {"a": {"nope": 1}}})


@pytest.mark.parametrize("document", [{}, [], 7, {"flags": 7}, {"features": {}}])
def test_a_document_of_neither_tool_is_refused(document: Any) -> None:
    with pytest.raises(Unsayable):
        read(document)


def strategy(name: str = "default", **changes: Any) -> dict[str, Any]:
    return {"name": name, "parameters": {}, "constraints": [], **changes}


def test_unleash_s_strategies_become_rules() -> None:
    limit = {"contextName": "environment", "operator": "IN", "values": ["production"]}
    rollout = strategy("flexibleRollout", parameters={"rollout": "25", "stickiness": "default", "groupId": "g"})
    nobody = strategy("flexibleRollout", parameters={"rollout": 0})
    users = strategy("userWithId", parameters={"userIds": "acme, zeta"}, constraints=[limit])
    features = [
        {"name": "new-desk", "description": "A desk", "enabled": True, "strategies": [nobody, rollout, users]},
        {"name": "all", "enabled": True, "strategies": []},
        {"name": "none", "enabled": False, "strategies": [strategy()]},
    ]
    found = read({"version": 1, "features": features})
    assert not found.left_out
    desk, everybody, nothing = found.flags
    assert (desk.description, desk.default_variant) == ("A desk", "off")
    share, named = desk.rules
    assert [(each.group, each.begin, each.end) for each in share.slices] == [("g", 0, 2_500)]
    assert (list(named.workspaces), list(named.environments), named.variant) == (["acme", "zeta"], ["production"], "on")
    assert [rule.variant for rule in everybody.rules] == ["on"]
    assert not nothing.rules


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"variants": [{"name": "a"}]}, "has variants"),
        ({"dependencies": [{"feature": "x"}]}, "depends on"),
        ({"strategies": [strategy("remoteAddress")]}, "has a strategy 'remoteAddress'"),
        ({"strategies": [strategy(segments=[1])]}, "has a strategy with segments"),
        ({"strategies": [strategy("flexibleRollout", parameters={"stickiness": "random"})]}, "has a strategy that"),
        ({"strategies": [strategy("flexibleRollout", parameters={"rollout": "many"})]}, "has a rollout"),
        ({"strategies": [strategy(constraints=[{"contextName": "plan", "operator": "IN"}])]}, "has a constraint on"),
        (
            {"strategies": [strategy(constraints=[{"contextName": "tier", "operator": "NOT_IN", "values": ["a"]}])]},
            "has a constraint that is no list",
        ),
    ],
)
def test_what_unleash_says_and_ours_cannot_is_left_out(changes: dict[str, Any], why: str) -> None:
    feature = {"name": "f", "enabled": True, "strategies": [strategy()], **changes}
    found = read({"features": [feature]})
    assert found.flags == ()
    assert found.left_out["f"].startswith(why)


def test_an_export_by_environment_holds_where_it_was_on() -> None:
    document = {
        "features": [{"name": "f"}],
        "featureStrategies": [
            {"featureName": "f", "environment": "staging", **strategy()},
            {"featureName": "f", "environment": "production", **strategy()},
        ],
        "featureEnvironments": [
            {"featureName": "f", "environment": "staging", "enabled": True},
            {"featureName": "f", "environment": "production", "enabled": False},
        ],
    }
    [flag] = read(document).flags
    assert [list(rule.environments) for rule in flag.rules] == [["staging"]]


def test_what_is_exported_to_unleash_means_the_same_when_it_comes_back() -> None:
    draw = random.Random(3)
    rules = (
        Rule(tiers=("business",), variant="on", slices=(Slice("g", 0, 2_500),)),
        Rule(workspaces=("w-1", "w-2"), variant="on"),
    )
    flag = pb.Flag(name=f"flags/{KEY}", default_variant="off")
    for name, value in ON_OFF.items():
        flag.variants[name].CopyFrom(to_value(value))
    first = flag.rules.add(tiers=["business"], variant="on")
    first.slices.add(group="g", begin=0, end=2_500)
    flag.rules.add(workspaces=["w-1", "w-2"], variant="on")
    [back] = read(to_unleash([flag])).flags
    _, content = content_of(back)
    sets = [
        FlagSet({KEY: compiled(KEY, each, killed=False, revision=1)})
        for each in (Content(ON_OFF, "off", rules), content)
    ]
    for _ in range(300):
        context = {"workspace": f"w-{draw.randrange(50)}", "tier": draw.choice(["free", "business"])}
        assert sets[0].evaluate(KEY, context) == sets[1].evaluate(KEY, context)


def test_what_unleash_cannot_say_is_refused() -> None:
    flag = pb.Flag(name="flags/f", default_variant="off", variants={"on": to_value("text"), "off": to_value("")})
    with pytest.raises(Unsayable):
        to_unleash([flag])


def test_a_flag_is_stale_once_it_gives_the_same_to_everybody() -> None:
    def flag(*rules: pb.Rule, **fields: Any) -> pb.Flag:
        return pb.Flag(name="flags/f", default_variant="off", rules=rules, **fields)

    assert staleness(flag()) == "'off' for everybody"
    assert staleness(flag(killed=True)) == "killed"
    assert staleness(flag(pb.Rule(variant="on"))) == "'on' for everybody"
    assert staleness(flag(pb.Rule(tiers=["free"], variant="off"))) == "'off' for everybody"
    assert staleness(flag(pb.Rule(tiers=["free"], variant="on"))) == ""
    split = pb.Rule(split=[pb.WeightedVariant(variant="on", weight=1)])
    assert staleness(flag(split)) == ""


def a_flag(key: str, *rules: pb.Rule, **fields: Any) -> pb.Flag:
    variants = {name: to_value(value) for name, value in ON_OFF.items()}
    return pb.Flag(name=f"flags/{key}", default_variant="off", variants=variants, rules=rules, **fields)


def test_ours_come_back_whole_and_in_the_order_in_which_they_can_be_put() -> None:
    needing = a_flag(
        "a", pb.Rule(segments=["vip"], variant="on", description="friends"), description="what it is for",
        prerequisites=[pb.Prerequisite(flag="flags/b", variants=["on"])], when_stale=pb.WHEN_STALE_DEFAULT,
        off_variant="off", killed=True, revision=7, etag="x",
    )  # fmt: skip
    flags = [needing, a_flag("b"), a_flag("segment.vip", pb.Rule(workspaces=["acme"], variant="on"))]
    found = read(to_own(flags))
    assert found.left_out == {}
    assert [flag.name for flag in found.flags][-1] == "flags/a", "the last: it needs the others"
    wanted = pb.Flag()
    wanted.CopyFrom(needing)
    wanted.ClearField("revision")
    wanted.ClearField("etag")
    assert {flag.name: flag for flag in found.flags} == {"flags/a": wanted, **{one.name: one for one in flags[1:]}}


def test_what_is_wrong_with_one_of_ours_costs_that_one() -> None:
    good = to_own([a_flag("good")])["flags"]
    bad = [7, {"name": "flags/odd", "colour": 1}, {"name": "flags/a b"}, {}, *good]
    found = read({"flags": [*good, *bad]})
    assert [flag.name for flag in found.flags] == ["flags/good"]
    assert set(found.left_out) == {"flags[1]", "odd", "a b", "flags[4]", "good"}
    assert "colour" in found.left_out["odd"]
    assert found.left_out["good"].startswith("stands in the document twice")


def test_a_circle_is_left_to_the_mesh_to_refuse() -> None:
    pair = [a_flag(one, prerequisites=[pb.Prerequisite(flag=f"flags/{other}", variants=["on"])])
            for one, other in ("ab", "ba")]  # fmt: skip
    assert [flag.name for flag in read(to_own(pair)).flags] == ["flags/a", "flags/b"]
