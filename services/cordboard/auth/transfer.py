"""Moves connections with their credentials to another installation: sealed to its key, signed with one of ours.

A file is lines of JSON: a header, one record for each connection, a manifest. Each record is encrypted by HPKE (RFC
9180: X25519, HKDF-SHA256, AES-256-GCM) to the target's key and bound to its file and its place; each line is signed
(Ed25519), so nothing that was added or changed comes in, and the manifest shows what was cut off.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from cordboard.auth.credentials import resource
from cordboard.auth.envelope import Unreadable
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import transfers as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.vault import SYSTEM
from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.names import new_id
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

FORMAT: Final = "cordboard-export-1"
KEY_FORMAT: Final = "cordboard-transfer-key-1"
BATCH: Final = 100
_FIELD: Final = "private_key"


@dataclass(frozen=True)
class PublicKey:
    """The public half of a transfer key."""

    id: str
    encryption: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str, field: str) -> PublicKey:
        """Reads it as CreateTransferKey wrote it; raises InvalidFields."""
        try:
            found = orjson.loads(text)
            made = cls(str(found["key_id"]), _unbase64(found["x25519"]), _unbase64(found["ed25519"]))
            if found["format"] != KEY_FORMAT or len(made.encryption) != 32 or len(made.signature) != 32:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise InvalidFields.one(field, "is not a transfer key: cordboard vault transfer-key makes one") from None
        return made

    def text(self) -> str:
        """Returns it as a text."""
        return orjson.dumps(
            {
                "format": KEY_FORMAT,
                "key_id": self.id,
                "x25519": _base64(self.encryption),
                "ed25519": _base64(self.signature),
            }
        ).decode()


@dataclass(frozen=True)
class _PrivateKey:
    encryption: X25519PrivateKey
    signature: Ed25519PrivateKey


@dataclass(frozen=True)
class Imported:
    """How many connections came in, and how many were there already."""

    imported: int
    present: int


class Transfers:
    """Exports and imports."""

    def __init__(self, database: Database, vault: Vault, journal: Journal) -> None:
        """Takes the vault that opens what leaves and seals what comes."""
        self._database = database
        self._vault = vault
        self._journal = journal

    async def create_key(self) -> PublicKey:
        """Makes a pair of keys; the private half never leaves the vault."""
        encryption, signature = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        key_id = new_id()
        public = PublicKey(
            key_id, encryption.public_key().public_bytes_raw(), signature.public_key().public_bytes_raw()
        )
        private = _base64(encryption.private_bytes_raw() + signature.private_bytes_raw())
        drawer = await self._vault.drawer(SYSTEM)
        sealed = drawer.seal(f"transferKeys/{key_id}", _FIELD, 1, Secret(private))
        async with self._database.shared() as connection:
            await rows.add_transfer_key(connection, rows.TransferKeyRow(key_id, public.text(), sealed))
            await self._journal.append(connection, Entry("auth.transfer-key.create", f"transferKeys/{key_id}"))
        return public

    async def export(self, target: str, workspace: str, signing_key: str) -> AsyncIterator[str]:
        """Yields the lines of a file; raises InvalidFields and NotFound before the first one."""
        to = PublicKey.read(target, "public_key")
        mine = await self._private(signing_key, "signing_key_id")
        export_id = new_id()
        header = _dumped({"format": FORMAT, "export": export_id, "source": signing_key, "target": to.id})
        async with self._database.everywhere() as connection:
            if workspace and await workspace_rows.workspace(connection, workspace) is None:
                raise NotFound(f"workspaces/{workspace}")
            details = {"target": to.id, "workspace": workspace}
            await self._journal.append(connection, Entry("auth.vault.export", f"exports/{export_id}", details=details))
        try:
            key = X25519PublicKey.from_public_bytes(to.encryption)
            _suite().encrypt(b"", key)
        except ValueError:
            # Of small order: a shared secret with it would be known to everybody.
            raise InvalidFields.one("public_key", "is not a key that anything may be encrypted to") from None
        yield header
        binding, digest, number = hashlib.sha256(header.encode()).digest(), hashlib.sha256(), 0
        after = ("", "")
        while True:
            async with self._database.everywhere() as connection:
                found = await rows.whole_connections(connection, workspace, after=after, limit=BATCH)
            if not found:
                break
            for row in found:
                number += 1
                content = orjson.dumps({"connection": row.values, "secrets": await self._secrets(row)})
                sealed = _suite().encrypt(content, key, info=_info(binding, number))
                digest.update(hashlib.sha256(sealed).digest())
                signature = mine.signature.sign(_info(binding, number) + hashlib.sha256(sealed).digest())
                yield _dumped({"n": number, "sealed": _base64(sealed), "signature": _base64(signature)})
            after = (found[-1].values["workspace_id"], found[-1].values["connection_id"])
        signature = mine.signature.sign(_info(binding, 0) + digest.digest())
        yield _dumped({"count": number, "digest": digest.hexdigest(), "signature": _base64(signature)})

    async def take(self, source: str, lines: AsyncIterable[str]) -> Imported:
        """Takes the lines of a file; raises InvalidFields where one is not as it was written, or is missing.

        What stands before such a line has come in, and is passed over when the whole file comes again.
        """
        given = PublicKey.read(source, "source_public_key")
        reading = _Reading(Ed25519PublicKey.from_public_bytes(given.signature))
        mine: _PrivateKey | None = None
        imported = 0
        async for line in lines:
            if mine is None:
                mine = await self._private(reading.header(line, given.id), "line")
                continue
            sealed = reading.record(line)
            if sealed is not None:
                imported += await self._put(_opened(mine, sealed, reading))
        if not reading.whole:
            raise InvalidFields.one("line", "the file has no manifest: it was cut, take it whole")
        async with self._database.shared() as connection:
            details = {"source": given.id, "imported": imported, "of": reading.number}
            await self._journal.append(connection, Entry("auth.vault.import", "exports/-", details=details))
        return Imported(imported, reading.number - imported)

    async def _secrets(self, row: rows.WholeRow) -> dict[str, str]:
        workspace, connection_id = row.values["workspace_id"], row.values["connection_id"]
        drawer = await self._vault.drawer(workspace)
        found = {}
        for field, record in row.sealed.items():
            try:
                found[field] = drawer.open(resource(connection_id), field, row.values["generation"], record).reveal()
            except Unreadable:
                # It is as unreadable there as here: a person has to connect again in either place.
                continue
        return found

    async def _put(self, content: Mapping[str, Any]) -> bool:
        values = content["connection"]
        workspace, connection_id, generation = values["workspace_id"], values["connection_id"], values["generation"]
        drawer = await self._vault.drawer(workspace)
        owner = resource(connection_id)
        sealed = {
            field: drawer.seal(owner, field, generation, Secret(secret)) for field, secret in content["secrets"].items()
        }
        async with self._database.workspace(workspace) as connection:
            if await workspace_rows.workspace(connection, workspace) is None:
                raise NotFound(f"workspaces/{workspace}")
            if not await rows.add_whole(connection, values):
                return False
            await connection_rows.put_credential(connection, workspace, connection_id, generation, sealed)
            name = f"workspaces/{workspace}/{owner}"
            entry = Entry("auth.connection.import", name, workspace=workspace, details={"generation": generation})
            await self._journal.append(connection, entry)
            await connection_rows.record_change(connection, workspace, connection_id, generation)
        return True

    async def _private(self, key_id: str, field: str) -> _PrivateKey:
        row = None
        if "\0" not in key_id:  # PostgreSQL takes none in a text, and no id of ours has one
            async with self._database.shared() as connection:
                row = await rows.transfer_key(connection, key_id)
        if row is None:
            raise InvalidFields.one(field, "names a transfer key that this installation does not have")
        drawer = await self._vault.drawer(SYSTEM)
        raw = _unbase64(drawer.open(f"transferKeys/{key_id}", _FIELD, 1, row.sealed).reveal())
        return _PrivateKey(
            X25519PrivateKey.from_private_bytes(raw[:32]), Ed25519PrivateKey.from_private_bytes(raw[32:])
        )


class _Reading:
    """A file as it is read: what the next line must be, and what the manifest must say."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._binding = b""
        self._digest = hashlib.sha256()
        self.number = 0
        self.whole = False

    def header(self, line: str, source: str) -> str:
        """Reads the first line; returns the id of the key that the file is for."""
        found = _loaded(line)
        if found.get("format") != FORMAT or found.get("source") != source:
            raise InvalidFields.one("line", "is not the header of an export by that installation")
        self._binding = hashlib.sha256(line.strip().encode()).digest()
        return str(found.get("target", ""))

    def record(self, line: str) -> bytes | None:
        """Reads a later line; returns what is sealed in it, None where it is the manifest."""
        found = _loaded(line)
        try:
            if self.whole:
                raise ValueError
            signature = _unbase64(found["signature"])
            if "count" in found:
                self._key.verify(signature, _info(self._binding, 0) + self._digest.digest())
                self.whole = found["count"] == self.number
                if not self.whole:
                    raise ValueError
                return None
            sealed = _unbase64(found["sealed"])
            self.number += 1
            digest = hashlib.sha256(sealed).digest()
            self._key.verify(signature, self.info + digest)
        except (KeyError, TypeError, ValueError, InvalidSignature):
            raise InvalidFields.one("line", f"record {self.number} is not as it was exported") from None
        self._digest.update(digest)
        return sealed

    @property
    def info(self) -> bytes:
        """Returns what binds the last record to its file and place."""
        return _info(self._binding, self.number)


def _opened(mine: _PrivateKey, sealed: bytes, reading: _Reading) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = orjson.loads(_suite().decrypt(sealed, mine.encryption, info=reading.info))
    except (InvalidTag, ValueError):
        raise InvalidFields.one("line", f"record {reading.number} is sealed to another key") from None
    return found


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _info(binding: bytes, number: int) -> bytes:
    return FORMAT.encode() + binding + number.to_bytes(8, "big")


def _dumped(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _loaded(line: str) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidFields.one("line", "is not a line of an export")
    return found


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unbase64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error
