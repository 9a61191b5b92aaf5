"""What an edge is given of the flags: it decides as the hub does, and knows of nobody else's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.sync.flag_scope import scoped
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1.replica_service_pb2 import FlagRecords

WORKSPACES = {"acme", "acme-lab"}
OWNERS = {"acme": "c-acme", "acme-lab": "c-acme"}


def narrowed(
    *rules: pb.Rule, name: str = "flags/new-search", workspaces: Any = WORKSPACES, owners: Any = OWNERS
) -> Any:
    """Returns the rules of a flag as an edge gets them; None where it does not get the flag."""
    flag = pb.Flag(name=name, description="Search, rewritten", rules=rules, default_variant="off")
    records = FlagRecords(sequence=7, flags=[flag])
    got = FlagRecords.FromString(scoped(records.SerializeToString(), workspaces, owners))
    assert got.sequence == 7
    return list(got.flags[0].rules) if got.flags else None


def test_names_of_others_stay_and_with_them_what_was_said_of_them() -> None:
    rule = pb.Rule(
        description="for Globex and Acme", workspaces=["globex", "acme"], customers=["c-acme", "c-globex"], variant="on"
    )
    assert narrowed(rule) == [pb.Rule(workspaces=["acme"], customers=["c-acme"], variant="on")]
    own = pb.Rule(description="for Acme", workspaces=["acme"], customers=["c-acme"], variant="on")
    assert narrowed(own) == [own]


def test_a_rule_that_names_none_of_the_edge_goes() -> None:
    for rule in (
        pb.Rule(workspaces=["globex"], variant="on"),
        pb.Rule(customers=["c-globex"], variant="on"),
        pb.Rule(workspaces=["acme"], customers=["c-globex"], variant="on"),
        pb.Rule(workspaces=["globex"], customers=["c-acme"], variant="on"),
    ):
        assert narrowed(rule) == []


def test_what_others_have_chosen_stays_at_the_hub() -> None:
    mine = pb.Rule(workspaces=["acme", "globex"], environments=["production"], variant="off")
    kept = [pb.Rule(workspaces=["acme"], environments=["production"], variant="off")]
    assert narrowed(mine, name="flags/choice.integration.github") == kept
    assert narrowed(mine, name="flags/choice.integration.acme--erp") == kept
    # About another's private integration not even that there is one.
    assert narrowed(mine, name="flags/choice.integration.globex--erp") is None


def test_a_rule_that_names_customers_goes_while_those_of_the_edge_are_not_known() -> None:
    rule = pb.Rule(customers=["c-acme"], variant="on")
    assert narrowed(rule, owners={}) == []
    assert narrowed(rule, owners=OWNERS) == [rule]


def test_a_rule_that_switches_off_for_customers_holds_for_workspaces_whose_customer_is_not_known() -> None:
    rule = pb.Rule(description="not for Globex", customers=["c-globex"], environments=["production"], variant="off")
    withheld = pb.Rule(workspaces=["acme", "acme-lab"], environments=["production"], variant="off")
    assert narrowed(rule, owners={}) == [withheld]
    # One of them is known, and is not excluded; then one that is.
    withheld.workspaces[:] = ["acme-lab"]
    assert narrowed(rule, owners={"acme": "c-acme"}) == [withheld]
    withheld.workspaces[:] = ["acme", "acme-lab"]
    assert narrowed(rule, owners={"acme": "c-globex"}) == [withheld]
    # The control: where all are known it is as it was, and names no workspace.
    assert narrowed(rule) == []
    assert narrowed(rule, owners={"acme": "c-globex", "acme-lab": ""}) == [rule]


def test_a_rule_that_switches_off_for_customers_in_some_workspaces_says_nothing_of_the_others() -> None:
    rule = pb.Rule(workspaces=["acme"], customers=["c-globex"], variant="off")
    assert narrowed(rule, owners={"acme": ""}) == []
    assert narrowed(rule, owners={"acme-lab": ""}) == [pb.Rule(workspaces=["acme"], variant="off")]


def test_flags_about_other_workspaces_private_integrations_stay_at_the_hub() -> None:
    rule = pb.Rule(variant="on")
    for kind in ("integration.{}", "action.{}.send", "version.{}"):
        assert narrowed(rule, name=f"flags/{kind.format('globex--desk')}") is None
        assert narrowed(rule, name=f"flags/{kind.format('acme--desk')}") == [rule]
        assert narrowed(rule, name=f"flags/{kind.format('desk')}") == [rule]


names = st.sampled_from(["acme", "acme-lab", "globex", "initech"])
owners = {"acme": "c-acme", "acme-lab": "c-acme", "globex": "c-globex", "initech": ""}
rules = st.builds(
    pb.Rule,
    description=st.sampled_from(["", "for c-globex", "as asked by initech"]),
    workspaces=st.lists(names, max_size=3),
    customers=st.lists(st.sampled_from(["c-acme", "c-globex", "c-none"]), max_size=3),
    tiers=st.lists(st.sampled_from(["free", "business"]), max_size=1),
    variant=st.sampled_from(["on", "off", "half"]),
)


@given(st.lists(rules, max_size=6), st.sets(names, min_size=1), st.sampled_from(["free", "business"]))
def test_an_edge_decides_as_its_hub_for_its_workspaces_and_learns_nobody_elses_name(
    given_rules: list[pb.Rule], workspaces: set[str], tier: str
) -> None:
    known = {one: owners[one] for one in workspaces}
    customers = {*known.values()} - {""}
    kept = narrowed(*given_rules, workspaces=workspaces, owners=known)
    for workspace in workspaces:
        assert _decides(kept, workspace, tier) == _decides(given_rules, workspace, tier)
    for rule in kept:
        assert {*rule.workspaces} <= workspaces
        assert {*rule.customers} <= customers


@given(st.lists(rules, max_size=6), st.sets(names, min_size=1), st.sets(names), st.sampled_from(["free", "business"]))
def test_what_the_hub_switches_off_an_edge_switches_off_whoever_is_not_known(
    given_rules: list[pb.Rule], workspaces: set[str], known: set[str], tier: str
) -> None:
    kept = narrowed(*given_rules, workspaces=workspaces, owners={one: owners[one] for one in workspaces & known})
    for workspace in workspaces:
        if _decides(given_rules, workspace, tier) == "off":
            assert _decides(kept, workspace, tier) == "off"
    for rule in kept:
        assert {*rule.workspaces} <= workspaces
        assert {*rule.customers} <= {owners[one] for one in workspaces & known}


def _decides(given_rules: list[pb.Rule], workspace: str, tier: str) -> str:
    for rule in given_rules:
        conditions = ((rule.workspaces, workspace), (rule.customers, owners[workspace]), (rule.tiers, tier))
        if all(not wanted or value in wanted for wanted, value in conditions):
            return rule.variant
    return "default"


def test_every_text_of_a_rule_is_looked_at() -> None:
    """The control: a field that a rule gets, and that may name somebody, is none that this page does not know."""
    assert {field.name for field in pb.Rule.DESCRIPTOR.fields} == {
        "description", "tiers", "workspaces", "customers", "environments", "regions", "variant", "split", "slices",
        "segments", "opt_in",
    }  # fmt: skip
    assert {field.name for field in pb.Flag.DESCRIPTOR.fields} == {
        "name", "description", "variants", "rules", "default_variant", "off_variant", "killed", "revision", "etag",
        "create_time", "update_time", "when_stale", "prerequisites",
    }  # fmt: skip


def test_a_private_flag_that_is_needed_is_not_named() -> None:
    own, foreign = "flags/integration.acme--desk", "flags/integration.globex--desk"
    needed = [pb.Prerequisite(flag=name, variants=["on"]) for name in (own, foreign, "flags/new-desk")]
    flag = pb.Flag(name="flags/new-search", prerequisites=needed, default_variant="off")
    records = FlagRecords(sequence=7, flags=[flag])
    [got] = FlagRecords.FromString(scoped(records.SerializeToString(), WORKSPACES, OWNERS)).flags
    assert [each.flag for each in got.prerequisites] == [own, "flags/withheld", "flags/new-desk"]
