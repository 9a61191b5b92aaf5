"""A private integration's forms are there for its workspace, for operators and for services."""

from __future__ import annotations

import contextvars

import pytest

from cordboard.core.caller import Caller, set_caller
from cordboard.core.errors import NotFound
from cordboard.uqi.visibility import ensure_seen

MEMBER = Caller("envoy", workspace="acme", roles=frozenset({"member"}), token_id="t")
STRANGER = Caller("envoy", workspace="zeta", roles=frozenset({"member"}), token_id="t")
NOBODYS = Caller("envoy", roles=frozenset({"publisher"}), token_id="t")
OPERATOR = Caller("envoy", roles=frozenset({"operator"}), token_id="t")
SERVICE = Caller("proxy")


def ask(caller: Caller, integration: str) -> None:
    def work() -> None:
        set_caller(caller)
        ensure_seen(integration)

    contextvars.copy_context().run(work)


@pytest.mark.parametrize("caller", [MEMBER, OPERATOR, SERVICE])
def test_whoever_may_sees_a_private_integration(caller: Caller) -> None:
    ask(caller, "acme--crm")


@pytest.mark.parametrize("caller", [STRANGER, NOBODYS])
def test_for_everybody_else_it_is_not_there(caller: Caller) -> None:
    with pytest.raises(NotFound):
        ask(caller, "acme--crm")
    ask(caller, "crm")
