"""An API key of a customer is in foreign hands, and then a key that signs tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import aiohttp

from cordboard.auth.v1 import api_key_service_pb2 as keys
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.parts import PRODUCTION, until
from cordboard.cli.drills.scene import CONNECTION, READ, WORKSPACE, Cause, becomes
from cordboard.client import Client, Result, Unauthenticated
from cordboard.common.v1 import options_pb2
from cordboard.proxy.v1 import proxy_service_pb2 as proxy

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene

# Within so many seconds no service takes what was revoked.
REVOKED_SECONDS: Final = 5.0
STOLEN_CALLS: Final = 3


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    with scene.narrator.step("An API key is in foreign hands", "Whoever has it is the customer.") as step:
        made = await scene.operator.api_keys.CreateApiKey(
            keys.CreateApiKeyRequest(
                parent=f"workspaces/{WORKSPACE}",
                display_name="the billing script",
                environment=PRODUCTION,
                roles=[options_pb2.ROLE_MEMBER],
            )
        )
        for _ in range(STOLEN_CALLS):
            status = await _steal(scene, made.secret)
            if status != 200:
                raise StepFailed(f"the key gave HTTP {status}")
        step.result(f"{STOLEN_CALLS} calls by {made.api_key.name}")
    with scene.narrator.step("What was done with it", "Runbook: `cordboard calls list`.") as step:
        await becomes(lambda: _all_are_seen(scene, made.api_key), "the records of the calls")
        step.result(f"each of its {STOLEN_CALLS} calls has a record with the key's name")
    await scene.look(Cause(f"{made.api_key.name} is in foreign hands: it made {STOLEN_CALLS} calls of {READ}"))
    with scene.narrator.step("The key is revoked", "Runbook: `cordboard keys revoke`.") as step:
        began = time.monotonic()
        revoke = keys.RevokeApiKeyRequest(name=made.api_key.name, reason="it leaked")
        await scene.operator.api_keys.RevokeApiKey(revoke)
        await until(lambda: _is_refused(scene, made.secret), "the refusal", patience=REVOKED_SECONDS * 4)
        step.result(f"refused {time.monotonic() - began:.1f} s later")
    with scene.narrator.step(
        "A key that signs tokens has leaked", "Runbook: `cordboard signing-keys revoke` puts the next one in its place."
    ) as step:
        began = time.monotonic()
        listed = await scene.operator.tokens.ListSigningKeys(tokens.ListSigningKeysRequest())
        signing = next(key for key in listed.signing_keys if key.state == tokens.SigningKey.STATE_SIGNING)
        revoked = tokens.RevokeSigningKeyRequest(name=signing.name, reason="it leaked")
        await scene.operator.tokens.RevokeSigningKey(revoked)
        await until(lambda: _is_worthless(scene.member), "the refusal of old tokens", patience=REVOKED_SECONDS * 4)
        step.result(f"tokens that it signed are refused {time.monotonic() - began:.1f} s later")
        done = await becomes(lambda: _anew(scene), "a call with a new token")
        step.result(f"a new token's call goes well {time.monotonic() - began:.1f} s later: HTTP {done.vendor_status}")


async def _steal(scene: Scene, secret: str) -> int:
    async with (
        scene.callers.browser() as browser,
        browser.post(
            f"{scene.mesh.public_url}/v1/{CONNECTION}:execute",
            json={"action": READ},
            headers={"x-api-key": secret},
            timeout=aiohttp.ClientTimeout(30),
        ) as answer,
    ):
        return answer.status


async def _is_refused(scene: Scene, secret: str) -> bool:
    return await _steal(scene, secret) == 401


async def _all_are_seen(scene: Scene, key: keys.ApiKey) -> bool:
    found = await scene.operator.proxy.ListCalls(proxy.ListCallsRequest(parent=f"workspaces/{WORKSPACE}"))
    return sum(call.caller == key.name for call in found.calls) >= STOLEN_CALLS


async def _anew(scene: Scene) -> Result | None:
    """Calls with a token of the new key; nothing while Envoy has not fetched it yet."""
    try:
        member = await scene.callers.workspace(await scene.callers.operator(), WORKSPACE)
        return await member.execute(CONNECTION, READ, {})
    except Unauthenticated:
        return None


async def _is_worthless(client: Client) -> bool:
    try:
        await client.execute(CONNECTION, READ, {}, timeout=10)
    except Unauthenticated:
        return True
    return False
