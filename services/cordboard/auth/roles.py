"""Sessions of AWS roles: temporary keys from AWS STS (AssumeRole), asked for with a key of ours or of the customer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode
from xml.etree import ElementTree

import aiohttp
from opentelemetry.trace import SpanKind
from yarl import URL

from cordboard.auth.clients import PLATFORM
from cordboard.auth.oauth import (
    MAX_ANSWER_BYTES,
    REFRESH_SECONDS,
    Client,
    Granted,
    Refused,
    error_code,
    is_token,
    pause,
)
from cordboard.auth.schemes import ACCESS_KEY_ID, EXTERNAL_ID, ROLE_ARN, SECRET_ACCESS_KEY, filled
from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied
from cordboard.core.secrets import Secret
from cordboard.core.sigv4 import AwsKeys, Scope, signed
from cordboard.core.telemetry import mark_answered, mark_asked, span

if TYPE_CHECKING:
    from cordboard.auth.schemes import Role
    from cordboard.core.times import Clock

# What a role is asked for with, and what stays in Auth.
ASKING: Final = (ROLE_ARN, EXTERNAL_ID, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
_VERSION: Final = "2011-06-15"
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_EXTERNAL_ID: Final = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}", re.ASCII)
_FORM: Final = "application/x-www-form-urlencoded"
# Nothing that happens by itself mends these: the role is gone, or does not trust us, or the key is no more.
_OVER: Final = frozenset({"AccessDenied", "InvalidClientTokenId", "ValidationError"})


class Roles:
    """Asks AWS STS, through the guarded way out."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, *, plain_http: bool) -> None:
        """Takes a session of `Egress`; `plain_http` allows http, for an STS inside a private network."""
        self._session = session
        self._clock = clock
        self._schemes = ("https", "http") if plain_http else ("https",)

    async def assume(self, role: Role, values: Mapping[str, Secret[str]], key: Client) -> Granted | Refused:
        """Returns what came of the role, a session whose three keys are one secret; it raises nothing."""
        arn, region = filled(role.arn, values), filled(role.region, values)
        external_id = values.get(EXTERNAL_ID, Secret("")).reveal()
        if not _ROLE.fullmatch(arn) or not _REGION.fullmatch(region):
            return Refused("values_malformed")
        if external_id and not _EXTERNAL_ID.fullmatch(external_id):
            return Refused("values_malformed")
        form = {"Action": "AssumeRole", "Version": _VERSION, "RoleArn": arn, "RoleSessionName": "cordboard"}
        form["DurationSeconds"] = str(role.seconds)
        if external_id:
            form["ExternalId"] = external_id
        try:
            target = check_url(role.endpoint or _endpoint(region))
            if target.scheme not in self._schemes:
                return Refused("insecure_endpoint")
            return await self._asked(target, urlencode(form).encode(), key, Scope("sts", region), role.seconds)
        except EgressDenied:
            return Refused("egress_denied")
        except ResponseTooLarge:
            return Refused("answer_too_large")
        except TimeoutError:
            return Refused("timeout")
        except (aiohttp.ClientError, OSError, ValueError):
            return Refused("unreachable")

    async def _asked(self, target: URL, body: bytes, key: Client, scope: Scope, seconds: int) -> Granted | Refused:
        keys = AwsKeys(key.id, key.secret or Secret(""), Secret(""))
        headers = signed(keys, scope, "POST", target, {"Content-Type": _FORM}, body, self._clock.now())
        with span("assume role", SpanKind.CLIENT) as asked:
            mark_asked(asked, "POST", target.host, target.port)
            async with self._session.post(
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=REFRESH_SECONDS, sock_connect=3.0),
            ) as response:
                mark_answered(asked, response.status)
                answer = _parsed(await read_limited(response, MAX_ANSWER_BYTES))
                if response.status == 200:
                    return _granted(answer, seconds)
                code = error_code(answer.get("Code")) if "Code" in answer else f"http_{response.status}"
                return Refused(code, code in _OVER, pause(response.headers.get("Retry-After", "")))


def own_key(values: Mapping[str, Secret[str]]) -> Client | None:
    """Returns the access key that belongs to the connection itself, where a person typed one in."""
    key_id, secret = values.get(ACCESS_KEY_ID), values.get(SECRET_ACCESS_KEY)
    return None if key_id is None else Client(key_id.reveal(), secret)


def as_asked(values: Mapping[str, Secret[str]], workspace: str, owner: str) -> dict[str, Secret[str]]:
    """Returns the values with the external id that STS is told.

    With the platform's key it is the workspace's name and nobody's choice: a role that trusts the platform for one
    workspace must not open for another one that knows its ARN.
    """
    if owner != PLATFORM or ACCESS_KEY_ID in values:
        return dict(values)
    return {**values, EXTERNAL_ID: Secret(f"workspaces/{workspace}")}


def session_keys(held: Secret[str]) -> AwsKeys:
    """Returns the keys of a session that `Roles` gave."""
    key_id, secret, token = json.loads(held.reveal())
    return AwsKeys(key_id, Secret(secret), Secret(token))


def _endpoint(region: str) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sts.{region}.{domain}/"


def _parsed(body: bytes) -> dict[str, str]:
    """Returns the texts of an XML answer by the names of their elements; none where it is not one that STS sends."""
    if b"<!" in body:
        return {}
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - without a document type nothing expands
    except ElementTree.ParseError:
        return {}
    return {each.tag.rpartition("}")[2]: each.text or "" for each in root.iter()}


def _granted(answer: Mapping[str, str], seconds: int) -> Granted | Refused:
    found = [answer.get(name, "") for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    if not all(is_token(each) for each in found):
        return Refused("answer_invalid")
    return Granted(Secret(json.dumps(found)), None, seconds, None)
