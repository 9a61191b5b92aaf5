"""What containers are told: Envoy's configuration as it stands, and a compose file that fits it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from cordboard.auth.settings import AuthSettings
from cordboard.catalog.settings import CatalogSettings
from cordboard.core.settings import PREFIX, Settings
from cordboard.local import certificates, envoy
from cordboard.local.certificates import SERVICES, Identities, mesh_identities
from cordboard.local.envoy import FORWARD, EnvoyLayout, RateLimit
from cordboard.local.roles import ROLES
from cordboard.proxy.settings import ProxySettings

ROOT = Path(__file__).parents[3]
SETTINGS: dict[str, type[Settings]] = {"auth": AuthSettings, "catalog": CatalogSettings, "proxy": ProxySettings}
JOBS = {"identities", "renewal", "migrate", "data-owner"}


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    """Asks Envoy whether it would start with this file."""
    command = [str(envoy.program()), "--mode", "validate", "-c", str(file), "--log-level", "error"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def container_file(tmp_path: Path, identities: Identities) -> Path:
    """envoy.yaml with the paths of this machine, and nothing else changed."""
    text = (envoy.configuration() / "envoy.yaml").read_text()
    for before, after in {
        "/etc/cordboard/api.binpb": envoy.descriptors(),
        "/etc/cordboard/identities": identities.directory("envoy").parent,
        "/etc/cordboard/sds": envoy.configuration() / "sds",
        "/run/cordboard": tmp_path,
    }.items():
        text = text.replace(before, str(after))
    file = tmp_path / "envoy.yaml"
    file.write_text(text)
    return file


def test_envoy_takes_the_configuration_for_containers(container_file: Path) -> None:
    result = validated(container_file)
    assert result.returncode == 0, result.stderr
    container_file.write_text(container_file.read_text().replace("STRICT_DNS", "STRICT_NONSENSE"))
    assert validated(container_file).returncode != 0


def test_envoy_takes_the_configuration_for_one_machine(tmp_path: Path, identities: Identities) -> None:
    layout = EnvoyLayout(
        public_port=1,
        services=dict.fromkeys(SERVICES, 2),
        identities=identities.directory("envoy").parent,
        sockets=tmp_path,
        directory=tmp_path / "envoy",
        descriptors=envoy.descriptors(),
        rate_limit=RateLimit(per_second=3, burst=4),
    )
    file = envoy.fit(layout)
    result = validated(file)
    assert result.returncode == 0, result.stderr
    text = "".join(path.read_text() for path in (file, *file.parent.glob("sds/*.yaml")))
    # Nothing of the container is left, and the caller's limit is in.
    assert not any(trace in text for trace in ("/etc/cordboard", "/run/cordboard", "STRICT_DNS", "0.0.0.0"))
    assert '"max_tokens": 4,' in text
    assert '"tokens_per_fill": 3,' in text


def test_sockets_move_when_their_paths_would_be_too_long(tmp_path: Path) -> None:
    assert envoy.socket_folder(Path("/short")) == (Path("/short"), False)
    long = tmp_path / ("x" * 100)
    folder, temporary = envoy.socket_folder(long)
    assert temporary
    assert len(str(folder / envoy.JWKS_SOCKET)) <= envoy.LONGEST_SOCKET_PATH
    envoy.remove_sockets(folder, temporary=True)
    assert not folder.exists()


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_every_cluster_of_envoy_is_a_container(compose: dict[str, Any]) -> None:
    content = yaml.safe_load((envoy.configuration() / "envoy.yaml").read_text())
    for cluster in content["static_resources"]["clusters"]:
        [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        address = endpoint["endpoint"]["address"].get("socket_address")
        if address is not None:
            assert address["address"] in compose["services"]
            variable = "CORDBOARD_FORWARD_ADDRESS" if cluster["name"] == FORWARD else "CORDBOARD_LISTEN_ADDRESS"
            listens = compose["services"][address["address"]]["environment"][variable]
            assert listens.endswith(f":{address['port_value']}"), cluster["name"]


def test_no_container_may_do_more_than_it_must(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*SERVICES, *JOBS, "postgres", "envoy"}
    for name, service in compose["services"].items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert (name in JOBS) or "healthcheck" in service, name
        assert not service.get("privileged"), name


def test_each_container_sees_its_own_secrets_alone(compose: dict[str, Any]) -> None:
    identities = {identity.name for identity in mesh_identities()}
    for name in SERVICES:
        mounted = {
            (volume["source"], volume.get("volume", {}).get("subpath"))
            for volume in compose["services"][name]["volumes"]
        }
        expected: set[tuple[str, str | None]] = {("identities", name), ("passwords", f"cordboard_{name}")}
        own: dict[str, set[tuple[str, str | None]]] = {"auth": {("keys", None)}, "catalog": {("hub", None)}}
        assert mounted == expected | own.get(name, set())
        assert name in identities
        assert f"cordboard_{name}" in ROLES


def test_every_variable_means_something_to_a_service(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        given = {variable for variable in compose["services"][name]["environment"] if variable.startswith(PREFIX)}
        assert given - known(Settings) <= known(SETTINGS.get(name, Settings)), name


def known(settings: type[Settings]) -> set[str]:
    """Returns the variables that a service reads."""
    return {f"{PREFIX}{field.upper()}" for field in settings.model_fields}


def test_a_mesh_in_containers_is_a_hub_and_its_key_is_made_once(compose: dict[str, Any], tmp_path: Path) -> None:
    key = Path(compose["services"]["catalog"]["environment"]["CORDBOARD_HUB_KEY_FILE"])
    [mounted] = [one for one in compose["services"]["catalog"]["volumes"] if one["source"] == "hub"]
    [made] = [one for one in compose["services"]["identities"]["volumes"] if one["source"] == mounted["source"]]
    command = compose["services"]["identities"]["command"][-1].split()
    assert command[command.index("--hub-key") + 1] == f"{made['target']}/{key.relative_to(mounted['target'])}"
    assert f" {made['target']} " in (ROOT / "deploy" / "Dockerfile").read_text()
    options = ["--directory", f"{tmp_path}/i", "--authority", f"{tmp_path}/a", "--hub-key", f"{tmp_path}/hub/seal.key"]
    certificates.main(options)
    first = (tmp_path / "hub" / "seal.key").read_bytes()
    assert len(first) == 32
    certificates.main(options)
    assert (tmp_path / "hub" / "seal.key").read_bytes() == first


def test_what_makes_an_edge_of_it_names_settings_of_the_catalog_and_mounts_what_they_name(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = yaml.safe_load((ROOT / "deploy" / "compose.edge.yaml").read_text())["services"]
    assert set(edge) == {"catalog"}
    given = edge["catalog"]["environment"]
    assert set(given) <= known(CatalogSettings)
    bootstrap, bundle = edge["catalog"]["volumes"]
    assert bootstrap["target"] == given["CORDBOARD_EDGE_BOOTSTRAP_FILE"]
    # Nobody has to have a bundle: without one the setting is empty, which is none.
    assert given["CORDBOARD_EDGE_BUNDLE_FILE"] == f"${{CORDBOARD_EDGE_BUNDLE:+{bundle['target']}}}"
    assert bundle["source"] == "${CORDBOARD_EDGE_BUNDLE:-/dev/null}"
    monkeypatch.setenv("CORDBOARD_EDGE_BUNDLE_FILE", "")
    url = SecretStr("postgresql+asyncpg://catalog@postgres/cordboard")
    where = identities.directory("catalog")
    told = CatalogSettings(listen_address="127.0.0.1:0", identity_dir=where, database_url=url)
    assert told.edge_bundle_file is None
    assert bootstrap["read_only"]
    assert bundle["read_only"]
