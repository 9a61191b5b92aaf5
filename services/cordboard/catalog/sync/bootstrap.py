"""What an edge is given when it is registered: who it is, and whom to trust."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from cordboard.catalog.sync.signing import key_id
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


@dataclass(frozen=True)
class Bootstrap:
    """An edge's beginning."""

    hub: str
    edge: str
    address: str
    """HOST:PORT of the hub's Envoy."""
    authority: bytes
    """The certificates to trust at that address, as PEM; empty: the system's."""
    hub_key: bytes
    """The hub's public key, raw."""
    private_key: Secret[bytes] = field(repr=False)
    """The edge's, raw Ed25519."""

    @property
    def trusted(self) -> dict[str, bytes]:
        """Returns the key that everything else is judged by, by its id."""
        return {key_id(self.hub_key): self.hub_key}

    def to_json(self) -> bytes:
        """Returns the file's content. It holds the private key: keep it readable by its owner alone."""
        fields = {
            "format": FORMAT,
            "hub": self.hub,
            "edge": self.edge,
            "address": self.address,
            "authority": self.authority.decode(),
            "hub_key": base64.b64encode(self.hub_key).decode(),
            "private_key": base64.b64encode(self.private_key.reveal()).decode(),
        }
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def read(cls, file: Path) -> Bootstrap:
        """Reads the file; raises ValueError saying what is wrong, and OSError."""
        try:
            fields: dict[str, Any] = orjson.loads(file.read_bytes())
            if fields["format"] != FORMAT:
                raise ValueError(f"it has format {fields['format']}; this release reads {FORMAT}")
            found = cls(
                hub=str(fields["hub"]),
                edge=str(fields["edge"]),
                address=str(fields["address"]),
                authority=str(fields["authority"]).encode(),
                hub_key=base64.b64decode(fields["hub_key"], validate=True),
                private_key=Secret(base64.b64decode(fields["private_key"], validate=True)),
            )
        except (KeyError, TypeError, binascii.Error, orjson.JSONDecodeError):
            raise ValueError("it is not the file that `cordboard edges register` wrote") from None
        if len(found.hub_key) != 32 or len(found.private_key.reveal()) != 32:
            raise ValueError("its keys are not Ed25519 keys")
        return found
