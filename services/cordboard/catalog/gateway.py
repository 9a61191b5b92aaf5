"""What a definition's `gateway` must mean: how the proxy of an integration vendor takes requests for others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cordboard.catalog.findings import shown

if TYPE_CHECKING:
    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Definition

PATH: Final = "{path}"
NAMES: Final = frozenset({"base", "host", "integration", "connection"})
MAX_TEXT: Final = 512
MAX_CODES: Final = 100

_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/{}-]*", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}", re.ASCII)
_VALUE: Final = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)
_CODE: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_FRAMING: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "cookie"}
)


def check_gateway(definition: Definition, found: Findings) -> None:
    """Notes everything that keeps requests from going through the gateway that a definition describes."""
    if not definition.HasField("gateway"):
        return
    gateway, below = definition.gateway, found.below("gateway")
    known = NAMES | {one.name for one in definition.config_variables}
    front = gateway.path.removesuffix(PATH)
    if not gateway.path.endswith("/" + PATH) or PATH in front or len(gateway.path) > MAX_TEXT:
        below.add("path", "must end in `/{path}`, and have it once")
    elif not _PATH.fullmatch(front) or any(part in (".", "..") for part in front.split("/")):
        below.add("path", "must be a path, encoded, without dots for segments")
    _check_names(front, known, "path", below)
    for name, text in sorted(gateway.headers.items()):
        if not _HEADER.fullmatch(name) or name.lower() in _FRAMING or name.lower().startswith("proxy-"):
            below.add("headers", f"{shown(name)} cannot be set")
        elif not _VALUE.fullmatch(text):
            below.add("headers", f"the value of {shown(name)} must be one line of printable ASCII")
        _check_names(text, known, "headers", below)
    below.require(
        not gateway.header_prefix or _HEADER.fullmatch(gateway.header_prefix) is not None,
        "header_prefix",
        "must be the beginning of a header's name",
    )
    if gateway.server and all(one.id != gateway.server for one in definition.servers):
        below.add("server", f"{shown(gateway.server)} is not the id of one of the servers")
    if gateway.HasField("error"):
        error = below.below("error")
        error.require(gateway.error.pointer.startswith("/"), "pointer", "must be a JSON Pointer")
        error.require(0 < len(gateway.error.codes) <= MAX_CODES, "codes", f"must be 1 to {MAX_CODES} words")
        for index, code in enumerate(gateway.error.codes):
            word = _CODE.fullmatch(code) is not None
            error.require(word, f"codes[{index}]", "must be a word of at most 128 printable ASCII characters")


def _check_names(text: str, known: frozenset[str] | set[str], field: str, found: Findings) -> None:
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            found.add(field, f"nothing stands for {shown('{' + name + '}')}")
