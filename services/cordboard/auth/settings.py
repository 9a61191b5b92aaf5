"""What Auth is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from cordboard.auth.kek import FileKeys
from cordboard.core.settings import Address, Settings


class AuthSettings(Settings):
    """Auth's settings, under the prefix CORDBOARD_."""

    kek_dir: Path = Field(
        description="directory of the vault's key-encryption keys: N.key, 32 bytes each, readable by their owner only; "
        "the highest N wraps, every other one still unwraps"
    )
    catalog_address: Address = Field(description="HOST:PORT of the Catalog")
    public_url: str = Field(min_length=1, description="https URL of Envoy's public listener; OAuth comes back to it")
    jwks_max_age_seconds: int = Field(5, ge=1, le=3600, description="how long verifiers may keep the key set")
    signing_key_overlap_seconds: float = Field(
        10.0, gt=0, le=86_400, description="how long a new signing key is published before it signs"
    )

    @field_validator("kek_dir")
    @classmethod
    def _kek_dir(cls, value: Path) -> Path:
        FileKeys.load(value)
        return value

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        # A verifier that fetched the set just before the new key was published must fetch again before it signs.
        if self.signing_key_overlap_seconds < self.jwks_max_age_seconds + 1:
            raise ValueError("signing_key_overlap_seconds must exceed jwks_max_age_seconds by at least a second")
        return self

    @property
    def redirect_uri(self) -> str:
        """Returns the redirect URI to register at every vendor."""
        return f"{self.public_url.rstrip('/')}/connect/callback"
