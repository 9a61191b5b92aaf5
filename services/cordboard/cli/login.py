"""Signing in at a mesh elsewhere, and out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import webbrowser
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from cordboard.auth.v1 import login_service_pb2 as pb
from cordboard.auth.v1 import revocation_service_pb2 as revocations
from cordboard.cli import profiles
from cordboard.cli.failures import CommandFailed
from cordboard.cli.loopback import Loopback
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, errors, show_json
from cordboard.cli.session import Target, run
from cordboard.client import Client, CordboardError
from cordboard.common.v1 import options_pb2

WAIT_SECONDS: Final = 300.0


def login(
    context: typer.Context,
    browser: Annotated[
        bool, typer.Option(help="Open the sign-in page in a browser. Otherwise its address is printed.")
    ] = True,
    output: Output = Format.TABLE,
) -> None:
    """Sign in at the mesh of a profile (`--profile`), with a browser on this machine."""

    async def work() -> None:
        profile = _remote(target(context))
        done = await _signed_in(profile, browser=browser)
        token_file = profiles.keep_token(profile.name, done.access_token)
        profiles.add(replace(profile, token_file=str(token_file)))
        roles = [options_pb2.Role.Name(role).removeprefix("ROLE_").lower().replace("_", "-") for role in done.roles]
        until = done.expire_time.ToDatetime(tzinfo=UTC)
        if output is Format.JSON:
            told = {"profile": profile.name, "subject": done.subject, "roles": roles, "expireTime": until.isoformat()}
            show_json(told)
        else:
            text = f"signed in at {profile.name} as {done.subject} ({', '.join(roles)}) until {_local(until)}"
            console.print(text, highlight=False)
        if profiles.token_from_environment():
            errors.print(f"{profiles.TOKEN_VARIABLE} is set, and wins over what was just stored", style="yellow")

    run(work)


def logout(context: typer.Context) -> None:
    """Sign out: revoke the profile's token at the mesh, and delete it here."""

    async def work() -> None:
        profile = _remote(target(context))
        if not profiles.is_signed_in(profile):
            raise CommandFailed(f"nobody is signed in at {profile.name!r}", 3)
        try:
            await _revoke(profile, profiles.kept_token(profile))
        except CordboardError as error:
            errors.print(f"the mesh did not revoke the token: {error.message}", style="yellow")
        profiles.forget_token(profile)
        console.print(f"signed out at {profile.name}", highlight=False)

    run(work)


def _remote(wanted: Target) -> profiles.RemoteProfile:
    if wanted.profile == profiles.LOCAL:
        raise CommandFailed("the mesh on this machine needs no sign-in: name another one with `--profile NAME`", 2)
    return profiles.profile(wanted.profile)


async def _signed_in(profile: profiles.RemoteProfile, *, browser: bool) -> pb.CompleteLoginResponse:
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(32)
    loopback = Loopback(state)
    async with Client(profile.address, ca_file=profile.ca()) as mesh, loopback.listening():
        begun = await mesh.login.BeginLogin(
            pb.BeginLoginRequest(redirect_uri=loopback.redirect_uri, code_challenge=_challenge(verifier), state=state)
        )
        url = begun.authorization_url
        if not url.startswith(("https://", "http://")):
            raise CommandFailed("the mesh named a sign-in page that is no web page", 1)
        if not (browser and await asyncio.to_thread(webbrowser.open, url)):
            errors.print("open this address in a browser on this machine:", highlight=False)
        # On a line of its own, unwrapped: people copy it, and programs read it.
        typer.echo(url, err=True)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                answer = await loopback.answer()
        except TimeoutError:
            raise CommandFailed(f"nobody signed in within {WAIT_SECONDS:.0f} seconds", 6) from None
        if "code" not in answer:
            raise CommandFailed(f"not signed in: {_visible(answer.get('error_description', ''))}", 4)
        done: pb.CompleteLoginResponse = await mesh.login.CompleteLogin(
            pb.CompleteLoginRequest(code=answer["code"], code_verifier=verifier)
        )
        return done


async def _revoke(profile: profiles.RemoteProfile, token: str) -> None:
    token_id = ""
    with suppress(ValueError, IndexError, TypeError):
        payload = token.split(".")[1]
        token_id = str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])
    async with Client(profile.address, token=token, ca_file=profile.ca(), identity_dir=profile.identity()) as mesh:
        await mesh.revocations.RevokeToken(
            revocations.RevokeTokenRequest(name=f"tokens/{token_id}", reason="signed out")
        )


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _visible(text: str) -> str:
    # It came through the browser: nothing in it may steer a terminal.
    return "".join(each for each in text[:200] if each.isprintable()) or "the provider said no"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M %Z}"
