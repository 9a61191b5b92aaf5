"""Secrets of inputs as references: made for one place in the inputs of one action, and opened when it is called.

A reference is the sealed secret itself, so that nothing has to be stored, found again or deleted: it ends with the
workspace, whose keys are destroyed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cordboard.core.errors import InvalidFields, NotFound, Violation
from cordboard.core.json_pointers import pointer_to
from cordboard.core.secrets import SEALED, Secret
from cordboard.proxy.sealing import SealingKeys, Unreadable

KIND: Final = "input"
_UNUSABLE: Final = "is a reference to a secret that was sealed for another field, action or workspace, or is incomplete"

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A secret, and where it stands in an input: a JSON Pointer (RFC 6901)."""

    pointer: str
    secret: Secret[str] = field(repr=False)


class SealedInputs:
    """Makes references and opens them."""

    def __init__(self, keys: SealingKeys) -> None:
        """Takes the keys of workspaces."""
        self._keys = keys

    async def references(self, workspace: str, integration: str, action: str, secrets: Sequence[Placed]) -> list[str]:
        """Returns a reference for each secret; raises NotFound or DependencyUnavailable."""
        key = await self._keys.current(workspace)
        sealed = (
            key.seal(KIND, _place(integration, action, one.pointer), one.secret.reveal().encode()) for one in secrets
        )
        return [SEALED + base64.urlsafe_b64encode(record).decode() for record in sealed]

    async def opened(
        self, workspace: str, integration: str, action: str, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Returns an input with the secrets that it refers to; raises InvalidFields with each that cannot be opened.

        Raises DependencyUnavailable where the workspace's key cannot be had.
        """
        if not _may_refer(given):
            return given
        found: dict[Steps, str] = {}
        problems: list[Violation] = []
        for steps, reference in _references(given, ()):
            try:
                record = base64.b64decode(reference.removeprefix(SEALED), altchars=b"-_", validate=True)
                place = _place(integration, action, pointer_to(steps))
                found[steps] = (await self._keys.opened(workspace, KIND, place, record)).decode()
            except (Unreadable, NotFound, binascii.Error, UnicodeError):
                problems.append(Violation(_path(steps), _UNUSABLE, "INVALID"))
        if problems:
            raise InvalidFields(problems)
        opened: Mapping[str, Any] = _with(given, (), found)
        return opened


def _place(integration: str, action: str, pointer: str) -> str:
    return f"{integration}/{action}{pointer}"


def _may_refer(given: Mapping[str, Any]) -> bool:
    # Nearly no input does, and each is looked at: this takes a microsecond, a walk through it many.
    try:
        return SEALED.encode() in orjson.dumps(given)
    except (TypeError, UnicodeError):
        # What JSON cannot carry is refused where the input is checked.
        return False


def _references(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, str):
        if value.startswith(SEALED):
            yield steps, value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _references(member, (*steps, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, (*steps, index))


def _with(value: Any, steps: Steps, found: Mapping[Steps, str]) -> Any:
    if steps in found:
        return found[steps]
    if isinstance(value, Mapping):
        return {name: _with(member, (*steps, name), found) for name, member in value.items()}
    if isinstance(value, list):
        return [_with(item, (*steps, index), found) for index, item in enumerate(value)]
    return value


def _path(steps: Steps) -> str:
    return "input" + "".join(f"[{step}]" if isinstance(step, int) else f".{step[:100]}" for step in steps)
