"""API keys of machines: what is kept of them is an HMAC under a pepper that lies in the vault."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.fields import a_title, an_id
from cordboard.auth.store import api_keys as rows
from cordboard.auth.store import token_revocations
from cordboard.auth.store.workspaces import workspace as workspace_row
from cordboard.auth.token_revocations import revoke_api_key
from cordboard.auth.tokens import COVERS
from cordboard.auth.vault import SYSTEM
from cordboard.core import api_keys
from cordboard.core.audit import Entry
from cordboard.core.caller import OPERATOR, Caller
from cordboard.core.database import notify
from cordboard.core.errors import AccessDenied, InvalidFields, NotFound, TokenInvalid, Violation
from cordboard.core.secrets import Secret
from cordboard.core.tokens import ROLES

if TYPE_CHECKING:
    from cordboard.auth.tokens import TokenIssuer
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.times import Clock

CREATE: Final = "cordboard.auth.v1.ApiKeyService/CreateApiKey"
# What a service gets for a key lives so long at most, in seconds; it asks again before.
TOKEN_SECONDS: Final = 120
NOTE_USE_EVERY: Final = 60.0
PEPPER: Final = 1


@dataclass(frozen=True)
class KeyWish:
    """The key that somebody asks for."""

    workspace: str
    display_name: str
    environment: str
    roles: tuple[str, ...]
    expire_time: datetime | None


@dataclass(frozen=True)
class Created:
    """A key that was made, with itself: it is not seen again."""

    row: rows.ApiKeyRow
    key: Secret[str]


class ApiKeyRing:
    """Keeps the API keys."""

    def __init__(self, database: Database, vault: Vault, journal: Journal, issuer: TokenIssuer, clock: Clock) -> None:
        """Takes what gives tokens for keys."""
        self._database = database
        self._vault = vault
        self._journal = journal
        self._issuer = issuer
        self._clock = clock
        self._peppers: dict[int, Secret[bytes]] = {}

    async def create(self, wish: KeyWish, caller: Caller) -> Created:
        """Makes a key; raises InvalidFields, AccessDenied and NotFound."""
        self._check(wish)
        if not caller.is_operator:
            own = frozenset[str]().union(*(COVERS[role] for role in caller.roles))
            if not set(wish.roles) <= own:
                raise AccessDenied(CREATE, "a key cannot carry a role above the one of who makes it")
            if wish.environment != caller.environment:
                raise AccessDenied(CREATE, "a key cannot be for another environment than the one of who makes it")
        key_id, key = api_keys.new_key(wish.environment)
        pepper = await self._pepper(PEPPER)
        named = f"workspaces/{wish.workspace}"
        async with self._database.workspace(wish.workspace) as connection:
            if await workspace_row(connection, wish.workspace) is None:
                raise NotFound(named)
            values = {
                "display_name": wish.display_name,
                "environment": wish.environment,
                "roles": sorted(set(wish.roles)),
                "digest": _digest(pepper, key),
                "pepper": PEPPER,
                "creator": caller.actor,
                "expire_time": wish.expire_time,
            }
            row = await rows.add_api_key(connection, wish.workspace, key_id, values)
            details = {"environment": wish.environment, "roles": list(row.roles)}
            entry = Entry(
                action="auth.api-key.create",
                resource=f"{named}/apiKeys/{key_id}",
                workspace=wish.workspace,
                details=details,
            )
            await self._journal.append(connection, entry)
        return Created(row, Secret(key))

    async def keys(self, workspace: str, *, after: str, limit: int) -> list[rows.ApiKeyRow]:
        """Returns up to `limit` keys of a workspace with an id above `after`, in order of id."""
        async with self._database.workspace(workspace) as connection:
            return await rows.api_keys(connection, workspace, after=after, limit=limit)

    async def revoke(self, workspace: str, key_id: str, reason: str, caller: Caller) -> rows.ApiKeyRow:
        """Revokes a key everywhere; raises InvalidFields and NotFound."""
        if wrong := a_title(reason, "reason"):
            raise InvalidFields(wrong)
        named = f"workspaces/{workspace}/apiKeys/{key_id}"
        async with self._database.workspace(workspace) as connection:
            found = await rows.revoke_api_keys(connection, workspace, key_id)
            if not found:
                raise NotFound(named)
            await revoke_api_key(connection, found[0], reason=reason, actor=caller.actor)
            details = {"reason": reason}
            entry = Entry(action="auth.api-key.revoke", resource=named, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
            await notify(connection, token_revocations.CHANNEL)
        return found[0]

    async def token(self, key: str) -> str:
        """Returns a short token for a key; raises TokenInvalid with the same word for every key that is not good."""
        found = api_keys.parts(key)
        async with self._database.everywhere() as connection:
            now, row = await rows.api_key_of(connection, found.id)
        digest = _digest(await self._pepper(PEPPER if row is None else row.pepper), key)
        if row is None or not hmac.compare_digest(digest, row.digest) or found.environment != row.environment:
            raise TokenInvalid("signature")
        if row.revoke_time is not None:
            raise TokenInvalid("revoked")
        seconds = TOKEN_SECONDS
        if row.expire_time is not None:
            seconds = min(seconds, int((row.expire_time - now).total_seconds()))
        if seconds < 1:
            raise TokenInvalid("expired")
        issued = await self._issuer.for_api_key(row, seconds)
        async with self._database.workspace(row.workspace) as connection:
            if await rows.note_use(connection, row.id, every=NOTE_USE_EVERY):
                named = f"workspaces/{row.workspace}/apiKeys/{row.id}"
                entry = Entry(action="auth.api-key.use", resource=named, workspace=row.workspace)
                await self._journal.append(connection, entry)
        return issued.token.reveal()

    def _check(self, wish: KeyWish) -> None:
        wrong = a_title(wish.display_name, "display_name") + an_id(wish.environment, "environment")
        wrong += [
            Violation(f"roles[{index}]", "is not a role that an API key can carry")
            for index, role in enumerate(wish.roles)
            if role not in ROLES or role == OPERATOR
        ]
        if wish.expire_time is not None and wish.expire_time <= self._clock.now():
            wrong.append(Violation("expire_time", "must be in the future"))
        if wrong:
            raise InvalidFields(wrong)

    async def _pepper(self, version: int) -> Secret[bytes]:
        if version not in self._peppers:
            drawer = await self._vault.drawer(SYSTEM)
            name = f"apiKeyPeppers/{version}"
            async with self._database.shared() as connection:
                known = await rows.peppers(connection)
                if version not in known:
                    made = drawer.seal(name, "pepper", 1, Secret(secrets.token_hex(32)))
                    await rows.add_pepper(connection, version, made)
                    known = await rows.peppers(connection)
            opened = drawer.open(name, "pepper", 1, known[version])
            self._peppers[version] = Secret(bytes.fromhex(opened.reveal()))
        return self._peppers[version]


def _digest(pepper: Secret[bytes], key: str) -> bytes:
    return hmac.digest(pepper.reveal(), key.encode(), hashlib.sha256)
