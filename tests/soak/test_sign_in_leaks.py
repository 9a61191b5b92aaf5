"""Operators who sign in, are refused, come twice, find the provider silent or Auth killed: no secret shows anywhere."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from tests.e2e import test_login
from tests.e2e.leaks import Search
from tests.e2e.test_login import Place
from tests.e2e.test_secrets import KEPT_BY_THE_MESH, Canaries, searched
from tests.fixtures.mesh import Backstage, RunningMesh, until
from tests.fixtures.oidc import SECRET, signed_in

pytestmark = test_login.pytestmark
place = test_login.place
CLASSES: Final = (
    "ID token", "OIDC client secret", "provider's access token", "provider's refresh token", "provider's code",
    "state of a sign-in", "binding of a browser", "operator's session", "operator token",
)  # fmt: skip
TIMES: Final = int(os.environ.get("SIGN_INS", "30"))


class Signing:
    """Browsers that sign in, and all that they were told and held."""

    def __init__(self, place: Place, canaries: Canaries) -> None:
        self.place = place
        self.canaries = canaries
        self.told: list[bytes] = []

    async def begin(self) -> tuple[str, str]:
        """Begins as the console does; returns where the provider is, and the browser's cookie."""
        status, begun, cookies = await self.place.post("/v1/logins", {"returnPath": "/console/"})
        assert status == 200
        [(name, binding)] = cookies.items()
        url = str(begun["authorizationUrl"])
        self.canaries.add("binding of a browser", binding)
        self.canaries.add("state of a sign-in", parse_qs(urlsplit(url).query)["state"][0])
        return url, f"{name}={binding}"

    async def returned(self, url: str, who: str) -> dict[str, str]:
        """Signs a person in at the provider; returns what the browser brings back."""
        query = await signed_in(url, login=who, until=f"{self.place.mesh.public_url}/login/callback")
        self.canaries.add("provider's code", query["code"])
        return query

    async def come_back(self, query: dict[str, str], cookie: str) -> str:
        """Comes back; returns the session's cookie, if there is one, and keeps the page."""
        url = f"{self.place.mesh.public_url}/login/callback?{urlencode(query)}"
        try:
            async with self.place.browser.get(url, headers={"cookie": cookie}) as answer:
                self.told.append(await answer.read())
                told = {name: value for name, value in answer.headers.items() if name.lower() != "set-cookie"}
                self.told.append(repr(told).encode())
                [session, *_] = [
                    each.partition(";")[0]
                    for each in answer.headers.getall("set-cookie", [])
                    if each.startswith("__Host-cordboard-session=") and each.partition(";")[0][-1] != "="
                ] or [""]
        except aiohttp.ClientError as error:
            self.told.append(repr(error).encode())
            return ""
        if session:
            self.canaries.add("operator's session", session.partition("=")[2])
        return session

    async def works(self, session: str) -> None:
        """Takes a token for a session, and ends it."""
        status, given, _ = await self.place.post("/v1/sessions:token", {}, session)
        assert status == 200
        self.canaries.add("operator token", str(given["accessToken"]).rpartition(".")[2])
        assert (await self.place.post("/v1/sessions:end", {}, session))[0] == 200


async def in_every_way(signing: Signing) -> tuple[int, int]:
    """Signs in well, without a role, twice with one code, and with another's return; returns how many got in."""
    well = badly = 0
    for _ in range(TIMES):
        url, cookie = await signing.begin()
        query = await signing.returned(url, "ada")
        session = await signing.come_back(query, cookie)
        await signing.works(session)
        well += 1
        other, other_cookie = await signing.begin()
        nobody = await signing.returned(other, "bob")
        for wrong, held in (
            (query, cookie),
            ({**nobody, "iss": "https://evil.example"}, other_cookie),
        ):
            assert not await signing.come_back(wrong, held)
            badly += 1
        url, cookie = await signing.begin()
        # The ID token is good and read, and whose it is has no role.
        assert not await signing.come_back(await signing.returned(url, "bob"), cookie)
        url, cookie = await signing.begin()
        assert not await signing.come_back({**(await signing.returned(url, "ada")), "code": query["code"]}, cookie)
        badly += 2
    return well, badly


async def silent_and_killed(signing: Signing) -> None:
    """Comes back while the provider is silent, once until its time is over, and once until Auth is killed."""
    place = signing.place
    for kill in (False, True):
        url, cookie = await signing.begin()
        query = await signing.returned(url, "ada")
        os.kill(place.provider.pid, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(signing.come_back(query, cookie))
            if kill:
                await asyncio.sleep(0.5)
                before = place.mesh.pid("auth")
                assert before is not None
                os.kill(before, signal.SIGKILL)

                async def back(before: int = before) -> bool:
                    return place.mesh.pid("auth") not in (None, before)

                await until(back, "Auth to be there again")
            assert not await waiting
        finally:
            os.kill(place.provider.pid, signal.SIGCONT)
        await place.mesh.wait_ready(60)


def keep_books(given: list[dict[str, Any]], canaries: Canaries) -> None:
    """Notes all that the provider ever gave: whole tokens, and of ID tokens the signature and what they say too."""
    for answer in given:
        for name, told in (("id_token", "ID token"), ("access_token", "provider's access token")):
            if name in answer:
                canaries.add(told, answer[name])
        if "id_token" in answer:
            _, claims, signature = answer["id_token"].split(".")
            canaries.add("ID token's claims", claims)
            canaries.add("ID token's signature", signature)
        if "refresh_token" in answer:
            canaries.add("provider's refresh token", answer["refresh_token"])


async def test_signing_in_leaves_no_secret_anywhere(place: Place, backstage: Backstage) -> None:
    mesh = RunningMesh(place.mesh, backstage, place.mesh.options.state_dir, place.browser)
    canaries = Canaries()
    canaries.add("OIDC client secret", SECRET)
    signing = Signing(place, canaries)
    code, output, errors = await place.login("ada")
    assert code == 0, errors
    signing.told += [output.encode(), errors.encode()]
    well, badly = await in_every_way(signing)
    await silent_and_killed(signing)
    keep_books(await place.provider.given(), canaries)
    assert {each for each in CLASSES if not any(name.startswith(each) for name in canaries.found)} == set()
    search = Search.for_secrets(canaries.found)
    rows = await searched(mesh, search)
    for number, each in enumerate(signing.told):
        search.look(f"answer {number}", each)
    print(
        f"\n{well} sign-ins and {badly} that were refused, one that found the provider silent and one Auth killed: "
        f"{len(canaries.found)} secrets of {len(CLASSES)} classes in {len(search.wanted)} forms, "
        f"{search.looked_at / 1e6:.0f} MB and {rows} rows: {len(search.hits)} found"
    )
    assert search.hits == []
    assert (well, badly) == (TIMES, 4 * TIMES)
    # The control.
    with place.mesh.log_file("auth").open("ab") as file:
        file.write(b'{"event": "planted", "what": "' + canaries.found["ID token"] + b'"}\n')
    search.look_into_files(mesh.state_dir, leave_out=[mesh.state_dir / each for each in KEPT_BY_THE_MESH])
    assert any(hit.startswith("ID token in") for hit in search.hits)
