"""What an edge is given of the flags: it decides as the hub does, and knows of nobody else's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.sync.flag_scope import scoped
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1.replica_service_pb2 import FlagRecords

WORKSPACES = {"acme", "acme-lab"}
CUSTOMERS = {"c-acme"}


def narrowed(
    *rules: pb.Rule, name: str = "flags/new-search", workspaces: Any = WORKSPACES, customers: Any = CUSTOMERS
) -> Any:
    """Returns the rules of a flag as an edge gets them; None where it does not get the flag."""
    flag = pb.Flag(name=name, description="Search, rewritten", rules=rules, default_variant="off")
    records = FlagRecords(sequence=7, flags=[flag])
    got = FlagRecords.FromString(scoped(records.SerializeToString(), workspaces, customers))
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


def test_a_rule_that_names_customers_goes_while_those_of_the_edge_are_not_known() -> None:
    rule = pb.Rule(customers=["c-acme"], variant="on")
    assert narrowed(rule, customers=()) == []
    assert narrowed(rule, customers=CUSTOMERS) == [rule]


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
    customers = {owners[one] for one in workspaces} - {""}
    kept = narrowed(*given_rules, workspaces=workspaces, customers=customers)
    for workspace in workspaces:
        assert _decides(kept, workspace, tier) == _decides(given_rules, workspace, tier)
    for rule in kept:
        assert {*rule.workspaces} <= workspaces
        assert {*rule.customers} <= customers


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
    }  # fmt: skip
    assert {field.name for field in pb.Flag.DESCRIPTOR.fields} == {
        "name", "description", "variants", "rules", "default_variant", "off_variant", "killed", "revision", "etag",
        "create_time", "update_time",
    }  # fmt: skip
