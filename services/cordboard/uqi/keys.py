"""Safe names for what a form calls its fields and commands: words that mean nothing to a client but themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST: Final = 63
# Words with a meaning in form data (`data`, `viewType`), in lodash and redux-form paths, or on every object.
_RESERVED: Final = frozenset(
    {
        "viewtype", "componentdata", "jsondata", "command", "children", "condition", "length", "constructor",
        "prototype", "tostring", "tolocalestring", "valueof", "hasownproperty", "isprototypeof", "propertyisenumerable",
    }
)  # fmt: skip

# Names that programs in JavaScript take for properties of every object.
UNSAFE_NAMES: Final = frozenset({"__proto__", "constructor", "prototype", "toString", "valueOf", "hasOwnProperty"})


def field_keys(names: Iterable[str]) -> list[str]:
    """Returns a key for each name: 2 to 63 letters, digits and underscores, unique whatever the case, no reserved word.

    A name that is a safe key already keeps it; the same names in the same order always give the same keys.
    """
    names = list(names)
    taken = {name.lower() for name in names if _is_safe(name)}
    seen: set[str] = set()
    keys = []
    for name in names:
        key = name if _is_safe(name) and name.lower() not in seen else _free(_safe(name), name, taken | seen)
        seen.add(key.lower())
        keys.append(key)
    return keys


def commands(slug: str, actions: Iterable[str]) -> dict[str, str]:
    """Returns the command of each action id: the integration and the action in capitals, unique within both."""
    taken: set[str] = set()
    found = {}
    for action in sorted(set(actions)):
        word = _UNSAFE.sub("_", f"{slug}_{action}").strip("_").upper()
        command = _free(f"P_{word}" if _begins_badly(word) else word, action, taken).upper()
        taken.add(command.lower())
        found[action] = command
    return found


def _begins_badly(word: str) -> bool:
    # Appsmith reads `data` at the beginning of a step as its own.
    return word[:1].isdigit() or word.lower().startswith(("data", "__"))


def _is_safe(name: str) -> bool:
    return (
        2 <= len(name) <= _LONGEST
        and not _UNSAFE.search(name)
        and not _begins_badly(name)
        and name.lower() not in _RESERVED
    )


def _safe(name: str) -> str:
    key = _UNSAFE.sub("_", name).strip("_")
    return key if _is_safe(key) else f"p_{key}".rstrip("_")[:_LONGEST] if key else "p_"


def _free(key: str, name: str, taken: set[str]) -> str:
    if len(key) <= _LONGEST and key.lower() not in taken:
        return key
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    for size in range(6, len(digest)):
        candidate = f"{key[: _LONGEST - size - 1]}_{digest[:size]}"
        if candidate.lower() not in taken:
            return candidate
    raise ValueError("no key is free")  # two names with one SHA-256
