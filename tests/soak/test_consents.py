"""A hundred people who consent at a real authorization server, and attacks between them: each of the hundred connects.

`RUNS` makes them fewer.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, urlsplit

import grpc

from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from tests.contract import test_auth_attacks
from tests.contract.test_auth_attacks import Scene

RUNS: Final = int(os.environ.get("RUNS", "100"))
LOGINS: Final = ("ada", "grace", "edith")

pytestmark = test_auth_attacks.pytestmark
scene = test_auth_attacks.scene


async def came_back(scene: Scene, binding: str, query: dict[str, str]) -> str:
    """Comes back in a browser with this cookie; returns the page, or the code of the refusal."""
    stub = ConnectServiceStub(scene.auth.served.channel("envoy"))
    cookies = (("cookie", f"__Host-cordboard-connect={binding}"),)
    try:
        return str((await stub.HandleCallback(pb.HandleCallbackRequest(**query), metadata=cookies)).data.decode())
    except grpc.aio.AioRpcError as error:
        return error.code().name


def state_of(session: pb.ConnectSession) -> str:
    """Returns the state that a session's page was given."""
    return parse_qs(urlsplit(session.authorization_url).query)["state"][0]


async def at_another_browser(scene: Scene, session: pb.ConnectSession, _: str) -> str:
    return await came_back(scene, secrets.token_urlsafe(32), await scene.returned(session))


async def too_late(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    back = await scene.returned(session)
    await scene.auth.sql(
        "UPDATE connect_session SET expire_time = now() - interval '1 second' WHERE session_id = $1",
        session.name.rpartition("/")[2],
    )
    return await came_back(scene, binding, back)


async def with_anothers_code(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    stolen = await scene.returned(await scene.begin(connection_id="decoy"))
    return await came_back(scene, binding, {**stolen, "state": state_of(session)})


async def with_a_code_of_another_server(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    foreign = await scene.returned(await scene.begin("mallory", "trap", connection_id="bait"))
    return await came_back(scene, binding, {**foreign, "state": state_of(session)})


async def as_another_server(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    return await came_back(scene, binding, {**await scene.returned(session), "iss": scene.other.issuer})


async def without_an_issuer(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    back = await scene.returned(session)
    return await came_back(scene, binding, {"code": back["code"], "state": back["state"]})


async def with_a_state_made_up(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    return await came_back(scene, binding, {**await scene.returned(session), "state": secrets.token_urlsafe(32)})


async def with_a_code_made_up(scene: Scene, session: pb.ConnectSession, binding: str) -> str:
    query = {"state": state_of(session), "code": secrets.token_urlsafe(32), "iss": scene.honest.issuer}
    return await came_back(scene, binding, query)


Attack = Callable[[Scene, pb.ConnectSession, str], Awaitable[str]]
ATTACKS: Final[tuple[Attack, ...]] = (
    at_another_browser,
    too_late,
    with_anothers_code,
    with_a_code_of_another_server,
    as_another_server,
    without_an_issuer,
    with_a_state_made_up,
    with_a_code_made_up,
)


async def test_everybody_who_consents_is_connected_and_no_attack_between_them_is(scene: Scene) -> None:
    good, replays, attacks, begun = 0, Counter[str](), Counter[str](), time.monotonic()
    for number in range(RUNS):
        binding, name = secrets.token_urlsafe(32), f"good-{number:03}"
        attack = ATTACKS[number % len(ATTACKS)]
        attacked = await scene.begin(connection_id=f"attacked-{number:03}", browser_binding=binding)
        answer = await attack(scene, attacked, binding)
        attacks["connected" if "is connected" in answer else "refused"] += 1
        session = await scene.begin(connection_id=name, browser_binding=binding)
        back = await scene.returned(session, login=LOGINS[number % len(LOGINS)])
        good += "is connected" in await came_back(scene, binding, back)
        replays["connected" if "is connected" in await came_back(scene, binding, back) else "refused"] += 1
        assert await scene.honest.active((await scene.auth.lease(name)).access_token)
    rows = await scene.auth.sql("SELECT connection_id FROM connection ORDER BY 1")
    print(
        f"\n{good} of {RUNS} consents ended in a connection whose token the server honours; {dict(attacks)} attacks of "
        f"{len(ATTACKS)} kinds and {dict(replays)} replays between them; {time.monotonic() - begun:.0f} s"
    )
    assert good == RUNS
    assert (attacks, replays) == (Counter(refused=RUNS), Counter(refused=RUNS))
    assert [row["connection_id"] for row in rows] == [f"good-{number:03}" for number in range(RUNS)]
