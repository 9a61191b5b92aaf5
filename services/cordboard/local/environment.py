"""What a child process finds in its environment: the whole of its configuration, and nothing of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cordboard.local.options import EVERY_SERVICE, MeshOptions

PREFIX = "CORDBOARD_"
EGRESS_SERVICES = ("auth", "proxy", "catalog", "telemetry")


def inherited() -> dict[str, str]:
    """Returns our own environment without Cordboard's variables: a mesh is configured by its options alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    # Threads of gRPC's C core would otherwise take a heap each, in every process.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def of_service(  # one keyword for each thing that differs between machines
    service: str,
    options: MeshOptions,
    *,
    addresses: Mapping[str, str],
    identity: Path,
    database_url: str,
    public_url: str,
    key_encryption_keys: Path,
    hub_key: Path,
) -> dict[str, str]:
    """Returns the environment of a service; it holds its database password."""
    environment = inherited()
    environment |= {
        f"{PREFIX}PROFILE": options.profile,
        f"{PREFIX}LOG_LEVEL": options.log_level,
        f"{PREFIX}LISTEN_ADDRESS": addresses[service],
        f"{PREFIX}IDENTITY_DIR": str(identity),
        f"{PREFIX}DATABASE_URL": database_url,
        f"{PREFIX}PUBLIC_URL": public_url,
    }
    environment |= {f"{PREFIX}{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    if service == "auth":
        environment[f"{PREFIX}KEK"] = f"file:{key_encryption_keys}"
    if service == "catalog":
        environment[f"{PREFIX}HUB_KEY_FILE"] = str(hub_key)
        environment |= _following(options)
        if options.source_folders:
            environment[f"{PREFIX}SOURCE_FOLDERS"] = json.dumps([str(folder) for folder in options.source_folders])
    if service in EGRESS_SERVICES and options.egress_allowed_networks:
        environment[f"{PREFIX}EGRESS_ALLOWED_NETWORKS"] = json.dumps(options.egress_allowed_networks)
    environment.update(options.extra_env.get(EVERY_SERVICE, {}))
    environment.update(options.extra_env.get(service, {}))
    return environment


def _following(options: MeshOptions) -> dict[str, str]:
    """Returns what a Catalog is told about the hub that it follows, if it does."""
    if options.edge is None:
        return {}
    told = {
        "EDGE_BOOTSTRAP_FILE": str(options.edge.bootstrap_file),
        "EDGE_BUNDLE_FILE": str(options.edge.bundle_file or ""),
        "HUB_ADDRESS": options.edge.hub_address,
    }
    return {f"{PREFIX}{name}": value for name, value in told.items() if value}
