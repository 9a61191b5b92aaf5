"""What Auth is started with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from cordboard.auth.kek import open_ring
from cordboard.auth.login import RULE
from cordboard.auth.relay import NAME
from cordboard.core.settings import Address, Network, Settings

# Where a key provider of one's own usually is. It is the operator's choice, no tenant's, and so may be inside.
PRIVATE_NETWORKS: Final = ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")


CALLBACK: Final = "/connect/callback"
_ORIGIN: Final = re.compile(r"(?:https://[A-Za-z0-9.-]+|http://(?:localhost|127\.0\.0\.1))(?::[0-9]{1,5})?/?", re.ASCII)


class AuthSettings(Settings):
    """Auth's settings, under the prefix CORDBOARD_."""

    kek: str = Field(
        min_length=1,
        description="who keeps the vault's key-encryption keys: file:DIRECTORY of files N.key (32 bytes, readable by "
        "their owner only; the highest N wraps), env:VARIABLE, transit:https://HOST/MOUNT/KEY?token-file=FILE, "
        "awskms:ARN, or an RFC 7512 pkcs11: URI; several with spaces between: the first wraps, each unwraps its own",
    )
    kek_allowed_networks: tuple[Network, ...] = Field(
        PRIVATE_NETWORKS, description="private networks in which a key provider may be"
    )
    mass_read_connections: int = Field(
        500,
        ge=1,
        le=100_000,
        description="alert when credentials of more different connections than this are leased",
    )
    mass_read_seconds: float = Field(60.0, gt=0, le=86_400, description="the window in which they are counted")
    catalog_address: Address = Field(description="HOST:PORT of the Catalog")
    public_url: str = Field(min_length=1, description="https URL of Envoy's public listener; OAuth comes back to it")
    jwks_max_age_seconds: int = Field(5, ge=1, le=3600, description="how long verifiers may keep the key set")
    signing_key_overlap_seconds: float = Field(
        10.0, gt=0, le=86_400, description="how long a new signing key is published before it signs"
    )

    signing_key_seconds: float = Field(
        30 * 86_400.0, ge=1, le=400 * 86_400, description="the age at which a signing key is replaced by a new one"
    )
    token_refresh_seconds: float = Field(
        86_400.0, ge=0, le=30 * 86_400, description="for how long after it was issued a token can be refreshed"
    )

    edge_callers: tuple[str, ...] = Field(
        (), description="edges that may run calls here, by id, each as a member of its own workspaces"
    )

    login_issuer: str = Field("", description="the OpenID Connect provider at which operators sign in; empty: none")
    login_client_id: str = Field("", description="our client id there")
    login_client_secret_file: Path | None = Field(
        None, description="file with our client secret; none: a public client"
    )
    login_scopes: tuple[str, ...] = Field(("openid", "email", "profile"), description="the scopes to ask for")
    login_groups_claim: str = Field("groups", description="the claim of ID tokens that lists a person's groups")
    login_roles: tuple[str, ...] = Field(
        (),
        description="who may what: group:NAME=ROLE, domain:NAME=ROLE and email:ADDRESS=ROLE (verified alone), "
        "subject:ID=ROLE, where ROLE is operator or publisher",
    )
    login_session_seconds: float = Field(
        8 * 3600.0, ge=60, le=7 * 86_400, description="how long a browser stays signed in"
    )
    login_allowed_networks: tuple[Network, ...] = Field(
        (), description="private networks in which the sign-in provider may be"
    )

    relay_uri: str = Field(
        "", description="the callback of another mesh to register at vendors, where this one has no public address"
    )
    relay_name: str = Field("", description="the name by which that mesh knows this one")
    relay_targets: tuple[str, ...] = Field(
        (), description="meshes that browsers are sent on to: NAME=URL, where URL is the other's public URL"
    )

    @field_validator("relay_uri")
    @classmethod
    def _relay_uri(cls, value: str) -> str:
        if value and not value.startswith("https://"):
            raise ValueError("must begin with https://")
        return value

    @field_validator("relay_targets")
    @classmethod
    def _relay_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for target in value:
            name, _, url = target.partition("=")
            if not NAME.fullmatch(name) or not _ORIGIN.fullmatch(url):
                raise ValueError("each must be NAME=https://HOST, or http:// on localhost")
        return value

    @model_validator(mode="after")
    def _relay(self) -> Self:
        if bool(self.relay_uri) != bool(self.relay_name):
            raise ValueError("relay_uri and relay_name need each other")
        if self.relay_name and not NAME.fullmatch(self.relay_name):
            raise ValueError("relay_name must be of a-z, 0-9 and hyphens, and begin with a letter")
        return self

    @field_validator("login_issuer")
    @classmethod
    def _login_issuer(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https://")
        return value

    @field_validator("login_roles")
    @classmethod
    def _login_roles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for rule in value:
            if not RULE.fullmatch(rule):
                raise ValueError(
                    "each must be group:, domain:, email: or subject:, a value, and =operator or =publisher"
                )
        return value

    @field_validator("login_client_secret_file")
    @classmethod
    def _login_client_secret_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("must be a file")
        return value

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.login_issuer and not (self.login_client_id and self.login_roles):
            raise ValueError("login_issuer needs login_client_id and login_roles")
        if self.login_issuer.startswith("http://") and not self.login_allowed_networks:
            raise ValueError("login_issuer without TLS needs login_allowed_networks")
        return self

    @field_validator("kek")
    @classmethod
    def _kek(cls, value: str) -> str:
        open_ring(value, networks=(), keep=True)
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
        return self.relay_uri or f"{self.public_url.rstrip('/')}{CALLBACK}"

    @property
    def relays(self) -> dict[str, str]:
        """Returns the callbacks of the meshes that browsers are sent on to, by name."""
        pairs = (target.partition("=") for target in self.relay_targets)
        return {name: f"{url.rstrip('/')}{CALLBACK}" for name, _, url in pairs}

    @property
    def login_redirect_uri(self) -> str:
        """Returns the redirect URI to register at the sign-in provider."""
        return f"{self.public_url.rstrip('/')}/login/callback"
