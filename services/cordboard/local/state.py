"""What a mesh leaves on disk about itself: the state directory's layout, its lock, `mesh.json` and the passwords."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cordboard.local.failures import AlreadyRunning

DEFAULT_DIRECTORY = ".cordboard"
FORMAT = 1


def default_directory() -> Path:
    """Returns CORDBOARD_STATE_DIR, or `.cordboard` in the working directory."""
    return Path(os.environ.get("CORDBOARD_STATE_DIR") or DEFAULT_DIRECTORY).resolve()


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces `path` in one step, so that a reader sees the old content or the new and never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.chmod(partial, mode)  # noqa: PTH101 - the umask may have cut the mode above
    partial.replace(path)


@dataclasses.dataclass(frozen=True)
class ProcessState:
    """One process of a mesh."""

    name: str
    pid: int | None
    restarts: int
    ready: bool
    address: str
    log: str


@dataclasses.dataclass(frozen=True)
class MeshState:
    """A mesh as `mesh.json` tells it."""

    phase: str
    """`starting`, `ready`, `stopping` or `stopped`."""
    supervisor_pid: int
    started_time: float
    """Seconds since 1970."""
    profile: str
    public_address: str
    public_url: str
    ca_file: str
    client_identity_dir: str
    """The identity of `spiffe://cordboard/client/operator`."""
    data_dir: str
    """Where PostgreSQL keeps its data; elsewhere than in the state directory when its account cannot go there."""
    ports: Mapping[str, int]
    processes: Mapping[str, ProcessState]
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Returns the content of `mesh.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> MeshState:
        """Reads `mesh.json`; raises ValueError when it is not one of this version."""
        try:
            fields: dict[str, Any] = json.loads(content)
            if fields["format"] != FORMAT:
                raise ValueError(f"mesh.json has format {fields['format']}; this version reads {FORMAT}")
            fields["processes"] = {name: ProcessState(**process) for name, process in fields["processes"].items()}
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("mesh.json is not the state of a mesh") from error


class StateDirectory:
    """The state directory: where each thing lies, who holds it, and what it says runs."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.mesh_file = self.root / "mesh.json"
        self.identities = self.root / "identities"
        self.authority = self.root / "ca"
        self.keys = self.root / "keys"
        self.envoy = self.root / "envoy"
        self.logs = self.root / "logs"
        self.sockets = self.root / "run"
        self.database = self.root / "postgres"
        self._lock: int | None = None

    def create(self) -> None:
        """Makes the directories, readable by nobody else; repeating it changes nothing."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Others may pass through but not look: PostgreSQL runs as another user when we are root, and its data is below.
        self.root.chmod(0o711)
        for private in (self.identities, self.authority, self.keys, self.envoy, self.logs, self.sockets):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)

    @property
    def locked(self) -> bool:
        """Whether this object holds the directory."""
        return self._lock is not None

    def lock(self) -> None:
        """Holds the directory until `unlock` or the end of the process; raises AlreadyRunning."""
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(
                f"a mesh already runs in {self.root}; stop it or name another state directory"
            ) from None
        self._lock = descriptor

    def unlock(self) -> None:
        """Lets go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def held(self) -> bool:
        """Says whether a living process holds the directory; a file left by a dead mesh does not count."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at once do not take each other for a mesh.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write(self, state: MeshState) -> None:
        """Replaces `mesh.json`."""
        write_atomically(self.mesh_file, state.to_json())

    def last(self) -> MeshState | None:
        """Returns what `mesh.json` says, whether that mesh still lives or not."""
        try:
            return MeshState.from_json(self.mesh_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def passwords(self, names: Iterable[str]) -> dict[str, str]:
        """Returns a database password for each name, made at random on first use and kept (0600)."""
        path = self.root / "passwords.json"
        known: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
        missing = [name for name in names if name not in known]
        if missing:
            known.update({name: secrets.token_urlsafe(24) for name in missing})
            write_atomically(path, json.dumps(known).encode())
        return known

    def key_encryption_keys(self) -> Path:
        """Returns the directory of key-encryption keys (0700) with at least the first key in it (`1.key`, 0400)."""
        first = self.keys / "1.key"
        if not first.exists():
            write_atomically(first, secrets.token_bytes(32), 0o400)
        return self.keys

    def hub_key(self) -> Path:
        """Returns the file (0400) with the key that seals what the mesh signs for its edges; makes it on first use."""
        file = self.root / "hub" / "seal.key"
        if not file.exists():
            file.parent.mkdir(exist_ok=True, mode=0o700)
            write_atomically(file, secrets.token_bytes(32), 0o400)
        return file


def read_state(state_dir: Path) -> MeshState | None:
    """Returns the mesh that runs in `state_dir`, or None; what a dead one left behind is not a mesh."""
    directory = StateDirectory(state_dir)
    return directory.last() if directory.held() else None
