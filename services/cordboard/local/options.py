"""What a caller may choose about a local mesh."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cordboard.local.certificates import SERVICES
from cordboard.local.envoy import RateLimit
from cordboard.local.state import default_directory

EVERY_SERVICE = "*"


@dataclasses.dataclass(frozen=True)
class EdgeOptions:
    """What makes a mesh the second tier: an edge of a hub."""

    bootstrap_file: Path
    """What `cordboard edges register` wrote at the hub."""
    hub_address: str = ""
    """HOST:PORT of the hub's Envoy, if not where the file says."""
    bundle_file: Path | None = None
    """What `cordboard edges bundle` wrote at the hub, to begin with before it is reached."""


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """How to run a mesh; every choice has a default that works."""

    state_dir: Path = dataclasses.field(default_factory=default_directory)
    rate_limit: RateLimit = dataclasses.field(default_factory=RateLimit)
    """What each workspace may call through Envoy."""
    egress_allowed_networks: tuple[str, ...] = ()
    """Networks (CIDR) beyond the public internet that Auth and Proxy may reach, as a vendor on this machine needs."""
    profile: Literal["development", "production"] = "development"
    log_level: str = "info"
    extra_env: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, repr=False)
    """More environment for a service by name, or for `*`, every service."""
    retain_data: bool = True
    """Whether the state directory, the database in it, outlives the mesh."""
    public_port: int | None = None
    """Envoy's port; without one, that of the last mesh in this directory or any free one."""
    edge: EdgeOptions | None = None
    """The hub that it follows; None: it follows none."""
    source_folders: tuple[Path, ...] = ()
    """Folders that sources of definitions may be in."""

    def __post_init__(self) -> None:
        """Refuses names that are no service: a variable that reaches nobody would go unnoticed."""
        unknown = set(self.extra_env) - {*SERVICES, EVERY_SERVICE}
        if unknown:
            raise ValueError(f"extra_env names no service: {', '.join(sorted(unknown))}")

    def to_json(self) -> str:
        """Returns what `python -m cordboard.local` takes."""
        fields = dataclasses.asdict(self)
        fields["state_dir"] = str(self.state_dir)
        return json.dumps(fields, default=str)

    @classmethod
    def from_json(cls, text: str) -> MeshOptions:
        """Reads what `to_json` wrote, any part of it; raises ValueError naming what it does not know."""
        fields: dict[str, Any] = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("the options of a mesh are a JSON object")
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
        if "state_dir" in fields:
            fields["state_dir"] = Path(fields["state_dir"])
        if fields.get("edge") is not None:
            edge = fields["edge"]
            bundle = edge.get("bundle_file")
            fields["edge"] = EdgeOptions(
                bootstrap_file=Path(edge["bootstrap_file"]),
                hub_address=edge.get("hub_address", ""),
                bundle_file=Path(bundle) if bundle else None,
            )
        if "source_folders" in fields:
            fields["source_folders"] = tuple(Path(folder) for folder in fields["source_folders"])
        if "rate_limit" in fields:
            fields["rate_limit"] = RateLimit(**fields["rate_limit"])
        if "egress_allowed_networks" in fields:
            fields["egress_allowed_networks"] = tuple(fields["egress_allowed_networks"])
        return cls(**fields)
