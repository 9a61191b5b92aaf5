"""Every way to authenticate that a definition can declare: from `cordboard connect` to a call that goes well."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1.definition_pb2 import AuthScheme
from cordboard.local.certificates import Identities
from tests.contract.test_auth_modes import ISSUER, PRIVATE, PUBLIC, answer_device
from tests.e2e.test_command import COMMAND, command
from tests.fixtures.aws import Aws
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import until

KINDS: Final = tuple(kind.name for kind in AuthScheme.DESCRIPTOR.oneofs_by_name["kind"].fields)
SECONDS: Final = 60.0


@dataclass(frozen=True)
class Vendors:
    """The servers that are connected to."""

    sandbox: sandbox.Vendor
    aws: Aws
    identities: Identities


@dataclass(frozen=True)
class Way:
    """How a kind is connected: its scheme, what a person types in, our client, and who the vendor says that it is."""

    scheme: dict[str, Any]
    means: str
    values: dict[str, str] = field(default_factory=dict)
    client: tuple[str, str] | None = None
    more: tuple[dict[str, Any], ...] = ()
    """Schemes beside it that a combination names."""


def oauth2(at: Vendors) -> Way:
    url, settings = at.sandbox.url, at.sandbox.settings
    scheme = {"authorization_url": f"{url}/oauth/authorize", "token_url": f"{url}/oauth/token", "issuer": url}
    return Way({"oauth2": scheme}, "oauth2", client=(settings.client_id, settings.client_secret))


def device(at: Vendors) -> Way:
    url, settings = at.sandbox.url, at.sandbox.settings
    grant = {"token_url": f"{url}/oauth/token"}
    scheme = {"device_authorization_url": f"{url}/oauth/device_authorization", "grant": grant}
    return Way({"device": scheme}, "oauth2", client=(settings.client_id, settings.client_secret))


def client_credentials(at: Vendors) -> Way:
    settings = at.sandbox.settings
    values = {"client_id": settings.client_id, "client_secret": settings.client_secret}
    return Way({"client_credentials": {"grant": {"token_url": f"{at.sandbox.url}/oauth/token"}}}, "oauth2", values)


def jwt_bearer(at: Vendors) -> Way:
    assertion = {"issuer": ISSUER, "subject": ISSUER, "audience": at.sandbox.url}
    scheme = {"assertion": assertion, "grant": {"token_url": f"{at.sandbox.url}/oauth/token"}}
    return Way({"jwt_bearer": scheme}, "oauth2", {"private_key": PRIVATE})


def signed_jwt(at: Vendors) -> Way:
    assertion = {"issuer": ISSUER, "subject": ISSUER, "audience": at.sandbox.url}
    return Way({"signed_jwt": {"assertion": assertion}}, "jwt", {"private_key": PRIVATE})


def api_key(at: Vendors) -> Way:
    return Way(
        {"api_key": {"placement": "header", "name": "X-Api-Key"}}, "api_key", {"api_key": at.sandbox.settings.api_key}
    )


def user(at: Vendors) -> dict[str, str]:
    return {"username": at.sandbox.settings.basic_user, "password": at.sandbox.settings.basic_password}


def basic(at: Vendors) -> Way:
    return Way({"basic": {}}, "basic", user(at))


def digest(at: Vendors) -> Way:
    return Way({"digest": {}}, "digest", user(at))


def bearer(at: Vendors) -> Way:
    # A token that a person got elsewhere: here, a JWT that the vendor trusts.
    claims = {"iss": ISSUER, "sub": ISSUER, "aud": at.sandbox.url, "exp": int(time.time()) + 3600}
    return Way({"bearer": {}}, "jwt", {"token": jwt.encode(claims, PRIVATE, algorithm="RS256")})


def oauth1(at: Vendors) -> Way:
    url, settings = at.sandbox.url, at.sandbox.settings
    scheme = {
        "request_token_url": f"{url}/oauth1/request_token",
        "authorization_url": f"{url}/oauth1/authorize",
        "access_token_url": f"{url}/oauth1/access_token",
    }
    return Way({"oauth1": scheme}, "oauth1", client=(settings.oauth1_key, settings.oauth1_secret))


def aws_sigv4(at: Vendors) -> Way:
    settings = at.sandbox.settings
    values = {"access_key_id": settings.aws_access_key, "secret_access_key": settings.aws_secret_key}
    return Way({"aws_sigv4": {"service": "desk", "region": "eu-west-1"}}, "aws_sigv4", values)


def session(at: Vendors) -> Way:
    scheme = {
        "method": "POST",
        "url": f"{at.sandbox.url}/auth/login",
        "body": {"user": "{username}", "password": "{password}"},
        "token_pointer": "/session/token",
        "placement": {"placement": "header", "name": "X-Session-Token"},
    }
    fields = [{"name": "username", "plain": True}, {"name": "password"}]
    return Way({"session": scheme, "fields": fields}, "session", user(at))


def mtls(at: Vendors) -> Way:
    own = at.identities.directory("operator")
    values = {
        "client_certificate": (own / "tls.crt").read_text().strip(),
        "private_key": (own / "tls.key").read_text().strip(),
    }
    return Way({"mtls": {}}, "mtls", values)


def all_of(at: Vendors) -> Way:
    parts = ({"id": "user", "basic": {}}, {"id": "app", "api_key": {"placement": "header", "name": "X-App-Key"}})
    values = {f"user.{name}": value for name, value in user(at).items()}
    values["app.api_key"] = at.sandbox.settings.app_key
    return Way({"all_of": {"auth_schemes": ["user", "app"]}}, "basic", values, more=parts)


def none(_: Vendors) -> Way:
    return Way({"none": {}}, "")


WAYS: Final[dict[str, Callable[[Vendors], Way]]] = {
    each.__name__: each
    for each in (
        oauth2, device, client_credentials, jwt_bearer, signed_jwt, api_key, basic, digest, bearer, oauth1, aws_sigv4,
        session, mtls, all_of, none,
    )
}  # fmt: skip


@pytest.fixture
async def vendors(desk: Desk, identities: Identities, aws: Aws) -> AsyncIterator[Vendors]:
    """A sandbox vendor that knows our client, a key of ours and certificates; and AWS."""
    own = identities.directory("envoy-public")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(own / "ca.crt"))
    tls.load_cert_chain(own / "tls.crt", own / "tls.key")
    tls.verify_mode = ssl.CERT_OPTIONAL
    back = f"{desk.mesh.mesh.public_url}/connect/callback"
    async with sandbox.serving(sandbox.Settings(redirect_uris=(back,)), tls=tls) as vendor:
        vendor.access.trust(ISSUER, PUBLIC)
        yield Vendors(vendor, aws, identities)


async def publish(desk: Desk, slug: str, server: str, way: Way, action: dict[str, Any]) -> None:
    """Publishes an integration with one action, rolled out, with our client where one is needed."""
    document = {
        "slug": slug,
        "title": slug,
        "servers": [{"url": server}],
        "auth_schemes": [{"id": "it", **way.scheme}, *way.more],
        "actions": [{"id": "me", **action}],
        "check_action": "me",
    }
    async with desk.mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=json.dumps(document)))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{slug}"
        await operator.flags.PutFlag(flag)
        if way.client is not None:
            name, (key, secret) = f"integrations/{slug}/oauthClient", way.client
            await operator.connect.SetOAuthClient(
                connecting.SetOAuthClientRequest(name=name, client_id=key, client_secret=secret)
            )


async def connected(desk: Desk, workspace: str, slug: str, values: dict[str, str], person: Any = None) -> Any:
    """Connects by the command, and returns what it printed; `person` does at the vendor what it says meanwhile."""
    given = [part for name, value in values.items() for part in ("--value", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--state-dir", str(desk.mesh.state_dir), "connect", slug, "-w", workspace, "--scheme", "it",
        "--id", slug, "--no-browser", "-o", "json", *given,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    told = ""
    async with asyncio.timeout(SECONDS):
        if person is not None:
            while not (asked := person.reads(told)):
                line = (await process.stderr.readline()).decode()
                assert line, told
                told += line
            await person.does(asked)
        output, errors = await process.communicate()
    assert process.returncode == 0, told + errors.decode()
    return json.loads(output)


@dataclass(frozen=True)
class AtPage:
    """Consents at the page that the command shows."""

    desk: Desk

    def reads(self, told: str) -> str:
        """Returns the page."""
        return next(iter(re.findall(r"(https?://\S+)\n", told)), "")

    async def does(self, page: str) -> None:
        """Consents, and goes back."""

        async def consent() -> None:
            back = await sandbox.consent(self.desk.mesh.browser, page)
            async with self.desk.mesh.browser.get(back) as shown:
                assert shown.status == 200, await shown.text()

        await self.desk.mesh.backstage.wait(consent())


@dataclass(frozen=True)
class AtDevice:
    """Types in the code that the command shows."""

    vendor: sandbox.Vendor

    def reads(self, told: str) -> str:
        """Returns the code."""
        return next(iter(re.findall(r"this code: (\S+)", told)), "")

    async def does(self, code: str) -> None:
        """Allows it."""
        await answer_device(self.vendor, code, "approve")


async def called(desk: Desk, workspace: str, slug: str) -> Any:
    """Calls by the command until the rollout has reached the Proxy; returns what it printed."""

    async def answer() -> Any:
        code, output, _ = await command(desk, "call", f"{workspace}/{slug}", "me")
        return json.loads(output) if code == 0 else None

    return await until(answer, f"a call of {slug}")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_connects_and_calls_from_the_command(
    desk: Desk, northwind: Tenant, vendors: Vendors, kind: str
) -> None:
    way, slug = WAYS[kind](vendors), f"mode-{kind.replace('_', '-')}"
    path = "/v1/me" if way.means else "/openapi.json"
    server = vendors.sandbox.tls_url if kind == "mtls" else vendors.sandbox.url
    await publish(desk, slug, server, way, {"request": {"method": "GET", "path": path}})
    if kind == "all_of":
        vendors.sandbox.change({"app_key_required": True})
    person = {"oauth2": AtPage(desk), "oauth1": AtPage(desk), "device": AtDevice(vendors.sandbox)}.get(kind)
    made = await connected(desk, northwind.workspace, slug, way.values, person)
    assert made["name"] == f"workspaces/{northwind.workspace}/connections/{slug}"
    answer = await called(desk, northwind.workspace, slug)
    assert answer.get("authenticated_by", "") == way.means
    assert way.means or answer["openapi"]
    shown = json.dumps(made)
    assert not [
        name for name, value in way.values.items() if name not in ("username", "user.username") and value in shown
    ]


def role(at: Vendors) -> tuple[Way, dict[str, Any]]:
    """Returns how a role of AWS is connected, and an action that says whose the request is."""
    assumed = {"endpoint": at.aws.url, "role_arn": at.aws.role_arn}
    scheme = {"service": "sts", "region": "us-east-1", "assume_role": assumed}
    constants = [
        {"placement": "body", "name": "Action", "value": "GetCallerIdentity"},
        {"placement": "body", "name": "Version", "value": "2011-06-15"},
    ]
    action = {
        "request": {"method": "POST", "path": "/", "body": {"encoding": "form"}, "constants": constants},
        "response": {"decoder": "xml"},
        "idempotency": "safe",
    }
    return Way({"aws_sigv4": scheme}, "", at.aws.key), action


async def test_a_role_of_aws_connects_and_calls_from_the_command(
    desk: Desk, northwind: Tenant, vendors: Vendors
) -> None:
    way, action = role(vendors)
    await publish(desk, "mode-role", vendors.aws.url.rstrip("/"), way, action)
    await connected(desk, northwind.workspace, "mode-role", way.values)
    assert ":assumed-role/desk/cordboard" in json.dumps(await called(desk, northwind.workspace, "mode-role"))
