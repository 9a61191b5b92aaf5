"""Roles of AWS: sessions that STS gives are leased and renewed, as tokens are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import botocore.session  # type: ignore[import-untyped]
import grpc
import pytest
from aiohttp import web
from google.protobuf.duration_pb2 import Duration

from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import OAUTH_FAILED, UNAVAILABLE, Auth, a_definition, refused
from tests.fixtures.aws import Aws
from tests.fixtures.sites import listening

ROLE = "arn:aws:iam::123456789012:role/desk"
SESSION = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey><SessionToken>canary-token</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>canary-message</Message></Error></ErrorResponse>"""


@dataclass
class Sts:
    """Answers what a test says, and keeps what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = SESSION.format(id="ASIAEXAMPLE").encode()
    asked: list[dict[str, str]] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answers one request."""
        self.asked.append({name: values[0] for name, values in parse_qs(await request.text()).items()})
        self.signed_by.append(request.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        return web.Response(status=self.status, body=self.body, content_type="text/xml")


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    """A server in the place of STS."""
    told, app = Sts(), web.Application()
    app.router.add_post("/", told.answer)
    async with listening(app) as url:
        told.url = f"{url}/"
        yield told


def declare(auth: Auth, endpoint: str, *, role_arn: str = "", seconds: int = 0, region: str = "eu-west-1") -> None:
    """Makes `desk` an integration whose calls are signed with sessions of a role."""
    role = definition.AssumeRole(endpoint=endpoint, role_arn=role_arn)
    if seconds:
        role.lifetime.CopyFrom(Duration(seconds=seconds))
    fields = [definition.AuthField(name="region", plain=True)] if region.startswith("{") else []
    auth.catalog.definitions["desk"] = a_definition(
        "desk",
        definition.AuthScheme(
            id="role", fields=fields, aws_sigv4=definition.AwsSigV4(service="desk", region=region, assume_role=role)
        ),
    )


async def set_key(auth: Auth, key_id: str, secret: str, workspace: str = "") -> None:
    """Sets the key that asks for roles: the platform's, or a workspace's own."""
    name = "integrations/desk/oauthClient"
    if not workspace:
        platform = pb.SetOAuthClientRequest(name=name, client_id=key_id, client_secret=secret)
        await auth.operator(ConnectServiceStub).SetOAuthClient(platform)
        return
    own = pb.SetWorkspaceOAuthClientRequest(
        name=f"workspaces/{workspace}/{name}", client_id=key_id, client_secret=secret
    )
    admin = await auth.as_member(ConnectServiceStub, workspace, roles.ROLE_WORKSPACE_ADMIN)
    await admin.SetWorkspaceOAuthClient(own)


async def submitted(auth: Auth, values: dict[str, Any], workspace: str = "acme") -> Any:
    """Connects by values."""
    return await auth.type_in(values, workspace, auth_scheme="role", connection_id="desk-one")


async def leased(auth: Auth) -> credential_pb.CredentialPart:
    """Returns what the Proxy signs with."""
    (part,) = (await auth.lease()).parts
    return part


def who(aws: Aws, part: credential_pb.CredentialPart) -> str:
    """Asks AWS whose keys these are."""
    client = botocore.session.get_session().create_client(
        "sts",
        "us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id=part.aws.access_key_id,
        aws_secret_access_key=part.aws.secret_access_key,
        aws_session_token=part.aws.session_token,
    )
    return str(client.get_caller_identity()["Arn"])


async def test_a_role_is_assumed_at_aws_and_its_session_signs(auth: Auth, aws: Aws) -> None:
    declare(auth, aws.url)
    await submitted(auth, {"role_arn": aws.role_arn, **aws.key})
    first = await leased(auth)
    assert first.aws.access_key_id != aws.access_key_id
    assert (
        await asyncio.to_thread(who, aws, first)
        == f"{aws.role_arn.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/cordboard"
    )
    # The session is kept until it is old, and then another one takes its place.
    assert (await leased(auth)).aws == first.aws
    await auth.age(-1)
    second = await leased(auth)
    assert second.aws.access_key_id != first.aws.access_key_id
    assert (await auth.lease()).generation == 2


async def test_a_key_that_aws_does_not_know_gets_no_session(auth: Auth, aws: Aws) -> None:
    declare(auth, aws.url)
    wrong = {"access_key_id": aws.access_key_id, "secret_access_key": "another"}
    assert await refused(submitted(auth, {"role_arn": aws.role_arn, **wrong})) == OAUTH_FAILED
    assert await auth.sql("SELECT 1 FROM connection") == []


async def test_the_platforms_key_tells_sts_whose_the_connection_is(auth: Auth, sts: Sts) -> None:
    declare(auth, sts.url, seconds=900)
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    await submitted(auth, {"role_arn": ROLE})
    assert sts.asked[0] == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "cordboard",
        "DurationSeconds": "900",
        "ExternalId": "workspaces/acme",
    }
    assert sts.signed_by == ["AKIAPLATFORM"]
    await auth.age(-1)
    await leased(auth)
    assert sts.asked[1] == sts.asked[0]


async def test_an_external_id_is_no_choice_where_the_platforms_key_asks(auth: Auth, sts: Sts) -> None:
    # Otherwise a workspace could name another one's role with the other one's id.
    declare(auth, sts.url)
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    call = submitted(auth, {"role_arn": ROLE, "external_id": "workspaces/other"})
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["values.external_id"])
    assert sts.asked == []


async def test_a_workspaces_own_key_asks_with_the_external_id_that_was_typed_in(auth: Auth, sts: Sts) -> None:
    declare(auth, sts.url, role_arn="arn:aws:iam::{account}:role/desk", region="{region}")
    scheme = auth.catalog.definitions["desk"].auth_schemes[0]
    scheme.fields.append(definition.AuthField(name="account", plain=True))
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    await set_key(auth, "AKIAOWN", "canary-own", "acme")
    await submitted(auth, {"account": "123456789012", "region": "eu-north-1", "external_id": "chosen"})
    assert (sts.asked[0]["RoleArn"], sts.asked[0]["ExternalId"], sts.signed_by) == (ROLE, "chosen", ["AKIAOWN"])
    # The Proxy has to know the region, and nothing that the role was asked for with.
    assert dict((await leased(auth)).fields) == {"region": "eu-north-1", "account": "123456789012"}


async def test_without_any_key_nobody_can_ask(auth: Auth, sts: Sts) -> None:
    declare(auth, sts.url)
    assert await refused(submitted(auth, {"role_arn": ROLE})) == OAUTH_FAILED
    assert sts.asked == []


@pytest.mark.parametrize(
    "values",
    [
        {"role_arn": "arn:aws:iam::123456789012:user/ada"},
        {"role_arn": f"{ROLE}&Action=GetSessionToken"},
        {"role_arn": ROLE, "external_id": "a b"},
        {"role_arn": ROLE, "region": "evil.example/#"},
    ],
)
async def test_values_that_are_none_reach_nobody(auth: Auth, sts: Sts, values: dict[str, str]) -> None:
    declare(auth, sts.url, region="{region}")
    key = {"access_key_id": "AKIAOWN", "secret_access_key": "canary-own"}
    assert await refused(submitted(auth, {"region": "eu-west-1", **key, **values})) == OAUTH_FAILED
    assert sts.asked == []


async def test_a_role_that_does_not_trust_us_any_more_asks_for_a_person(auth: Auth, sts: Sts) -> None:
    declare(auth, sts.url)
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    await submitted(auth, {"role_arn": ROLE})
    await auth.age(-1)
    sts.status, sts.body = 403, ERROR.format(code="AccessDenied").encode()
    code, reason, _ = await refused(auth.lease())
    assert (code, reason) == ("FAILED_PRECONDITION", "RECONNECT_REQUIRED")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"busy"),
        (200, b""),
        (200, b"<html>"),
        (200, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        (200, SESSION.format(id="").encode()),
        (200, b"\xff\xfe" * 10),
        (200, b"x" * 1_000_000),
        (301, b""),
        (400, ERROR.format(code="Throttling").encode()),
        (400, ERROR.format(code="canary &lt;script&gt;").encode()),
    ],
)
async def test_an_answer_that_is_no_session_is_tried_again_later(
    auth: Auth, sts: Sts, status: int, body: bytes
) -> None:
    declare(auth, sts.url)
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    await submitted(auth, {"role_arn": ROLE})
    await auth.age(-1)
    sts.status, sts.body = status, body
    assert await refused(auth.lease()) == UNAVAILABLE
    sts.status, sts.body = 200, SESSION.format(id="ASIASECOND").encode()
    await auth.sql("UPDATE connection SET retry_time = NULL")
    assert (await leased(auth)).aws.access_key_id == "ASIASECOND"


async def test_nothing_of_a_session_is_in_an_error_or_in_the_clear(auth: Auth, sts: Sts) -> None:
    declare(auth, sts.url)
    await set_key(auth, "AKIAPLATFORM", "canary-platform")
    sts.status, sts.body = 403, ERROR.format(code="AccessDenied").encode()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await submitted(auth, {"role_arn": ROLE})
    assert "canary" not in str(caught.value)
    sts.status, sts.body = 200, SESSION.format(id="ASIAEXAMPLE").encode()
    await submitted(auth, {"role_arn": ROLE})
    for table in ("connection", "credential", "connect_session", "audit_entry"):
        found = await auth.sql(f"SELECT t::text AS row FROM {table} t")
        assert not [row["row"] for row in found if "canary" in row["row"]]
