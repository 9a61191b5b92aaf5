"""The commands there are. Each is imported when it is asked for: all of them together take more than a second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup
from typer.main import get_group

MESH, CATALOG, USE, OPERATE = "The mesh on this machine", "Integrations", "Using them", "Operating"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command or a group of commands is: `MODULE:NAME` in this package, and under which heading it is shown."""

    name: str
    panel: str
    added: tuple[str, ...] = ()
    """Modules that add commands of their own to the group, by `add_to`."""
    hidden: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """Returns the modules that it needs."""
        return tuple(f"{__package__}.{each}" for each in (self.name.partition(":")[0], *self.added))


_IN_CATALOG: Final = ("publishing", "governance", "drift")
PLACES: Final[Mapping[str, Place]] = {
    "demo": Place("demo.command:demo", MESH),
    "up": Place("mesh:up", MESH),
    "down": Place("mesh:down", MESH),
    "status": Place("mesh:status", MESH),
    "logs": Place("logs:logs", MESH),
    "doctor": Place("doctor:doctor", MESH),
    "drill": Place("drills.command:drill", MESH),
    "publish": Place("publishing:publish", CATALOG),
    "check": Place("check:check", CATALOG),
    "design": Place("design:design", CATALOG),
    "import": Place("publishing:import_openapi", CATALOG),
    "integrations": Place("catalog:app", CATALOG, _IN_CATALOG, hidden=True),
    "catalog": Place("catalog:app", CATALOG, _IN_CATALOG),
    "oauth-client": Place("connections:set_oauth_client", CATALOG),
    "form": Place("forms:form", CATALOG),
    "forms": Place("forms:forms", CATALOG),
    "workspaces": Place("workspaces:app", USE),
    "token": Place("workspaces:token", USE),
    "keys": Place("keys:app", USE),
    "connect": Place("connections:connect", USE),
    "connections": Place("connections:app", USE),
    "call": Place("calls:call", USE),
    "try": Place("try_page:open_page", USE),
    "calls": Place("calls:app", USE),
    "jobs": Place("jobs:app", USE),
    "schedules": Place("schedules:app", USE),
    "dead-letters": Place("dead_letters:app", USE),
    "quotas": Place("quotas:app", USE),
    "events": Place("events:app", USE),
    "backends": Place("backends:app", OPERATE),
    "breakers": Place("breakers:app", OPERATE),
    "flag": Place("flags:app", OPERATE, ("flag_review", "flag_exchange", "flag_consumers")),
    "rollout": Place("rollouts:app", OPERATE),
    "segment": Place("segments:app", OPERATE),
    "choices": Place("choices:app", OPERATE),
    "experiments": Place("experiments:app", OPERATE),
    "vault": Place("vault:app", OPERATE),
    "audit": Place("audit:app", OPERATE),
    "revoke": Place("revoke:app", OPERATE),
    "signing-keys": Place("keys:signing", OPERATE),
    "incident": Place("incident:app", OPERATE),
    "sources": Place("sources:app", OPERATE),
    "edges": Place("edges:app", OPERATE),
    "top": Place("rates:top", OPERATE),
    "health": Place("rates:health", OPERATE),
    "rates": Place("rates:rates", OPERATE),
    "usage": Place("rates:usage", OPERATE),
    "alerts": Place("alerts:app", OPERATE),
    "trace": Place("traces:app", OPERATE),
    "login": Place("login:login", OPERATE),
    "logout": Place("login:logout", OPERATE),
    "console": Place("console_page:console", OPERATE),
    "profile": Place("remote:app", OPERATE),
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = cast("MutableMapping[str, Any]", _Imported())

    def list_commands(self, _: Any) -> list[str]:
        """Returns the names, and imports nothing."""
        return list(self.commands)


class _Imported(Mapping[str, Any]):
    """Every command by its name, made when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in PLACES:
            raise KeyError(name)
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


@cache
def _made(name: str) -> Any:
    place, holder = PLACES[name], typer.Typer()
    found = _found(place)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, rich_help_panel=place.panel, hidden=place.hidden)
    else:
        holder.command(name, rich_help_panel=place.panel)(found)
    return get_group(holder).commands[name]


@cache
def _found(place: Place) -> Any:
    module, *added = map(import_module, place.modules)
    found = getattr(module, place.name.partition(":")[2])
    for each in added:
        each.add_to(found)
    return found
