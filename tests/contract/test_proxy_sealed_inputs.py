"""Secrets in inputs as references: a running Proxy makes them, and opens them for the one place that they are for."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.core.secrets import SEALED, Secret
from cordboard.local.certificates import Identities
from cordboard.proxy.sealed_inputs import KIND
from cordboard.proxy.sealing import SealingKey
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1 import sealed_input_service_pb2 as pb
from cordboard.proxy.v1.job_service_pb2 import GetJobRequest, Job, SubmitJobRequest
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import SealedInputServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import CONNECTION, TICKET, Mesh, a_mesh, execute, refusal, until
from tests.unit.proxy.samples import SLUG

SUBJECT = "The subject stands for a password"


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url) as one:
        yield one


async def sealed(mesh: Mesh, pointer: str = "/subject", secret: str = SUBJECT, **fields: Any) -> str:
    """A reference to a secret."""
    workspace = fields.pop("workspace", "acme")
    asked = {"parent": f"workspaces/{workspace}", "integration": f"integrations/{SLUG}", "action": "create_ticket"}
    request = pb.SealInputRequest(**{**asked, **fields}, secrets=[pb.InputSecret(pointer=pointer, secret=secret)])
    stub: Any = SealedInputServiceStub(mesh.served.as_role("member", workspace=workspace))
    return str((await stub.SealInput(request)).references[0])


async def run(
    mesh: Mesh, subject: str = SUBJECT, *, idempotency_key: str = "", **values: str
) -> proxy_pb.ExecuteResponse:
    """Makes a ticket."""
    request = execute("create_ticket", {**TICKET, "subject": subject, **values}, idempotency_key=idempotency_key)
    request.output_format = proxy_pb.OUTPUT_FORMAT_JSON
    answer: proxy_pb.ExecuteResponse = await mesh.stub().Execute(request)
    return answer


async def test_a_reference_is_opened_when_its_action_is_called(mesh: Mesh) -> None:
    reference = await sealed(mesh)
    assert reference.startswith(SEALED)
    assert SUBJECT not in reference
    assert reference != await sealed(mesh)
    for key in ("", "once"):
        answer = await run(mesh, reference, idempotency_key=key)
        assert json.loads(answer.output_json)["subject"] == SUBJECT
    # The negative control: text that looks like one in part is text.
    subject = f"about {SEALED}"
    answer = await run(mesh, subject)
    assert json.loads(answer.output_json)["subject"] == subject


async def test_a_reference_is_good_for_its_place_alone(mesh: Mesh) -> None:
    reference = await sealed(mesh)
    others = {
        "subject": {
            "another field": await sealed(mesh, "/requester_id"),
            "another action": await sealed(mesh, action="update_ticket"),
            "another integration": await sealed(mesh, integration="integrations/acme-other"),
            "another workspace": await sealed(mesh, workspace="globex"),
            "a reference that is cut": reference[:-8],
            "a reference that was changed": SEALED + base64.urlsafe_b64encode(b"CS1" + bytes(120)).decode(),
            "no base64": f"{SEALED}!",
        },
        "requester_id": {"the same text in another field": reference},
    }
    before = len(mesh.seen)
    for name, texts in others.items():
        for what, text in texts.items():
            refused = await refusal(run(mesh, **{name: text}))
            assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS"), what
            assert list(refused.fields) == [f"input.{name}"], what
            assert SUBJECT not in str(refused), what
    assert len(mesh.seen) == before
    # What a reference stands for is checked as if it stood there.
    refused = await refusal(run(mesh, await sealed(mesh, secret="zq")))
    assert (refused.reason, list(refused.fields)) == ("INVALID_FIELDS", ["input.subject"])
    assert "zq" not in str(refused)


async def test_a_job_keeps_the_reference_and_its_vendor_gets_the_secret(mesh: Mesh) -> None:
    stub: Any = JobServiceStub(mesh.served.as_role("member", workspace="acme"))
    given = json.dumps({**TICKET, "subject": await sealed(mesh)})
    job = await stub.SubmitJob(SubmitJobRequest(connection=CONNECTION, action="create_ticket", input_json=given))

    async def done() -> Job | None:
        found = await stub.GetJob(GetJobRequest(name=job.name))
        return found if found.state == Job.STATE_SUCCEEDED else None

    found = await until(done)
    assert json.loads(found.output_json)["subject"] == SUBJECT


async def test_without_the_key_nothing_is_sealed_and_nothing_is_sent(mesh: Mesh) -> None:
    # As the Proxy has made it in another process, under the key that this one cannot have yet.
    key = SealingKey("acme", 1, Secret(hashlib.sha256(b"workspaces/acme 1").digest()))
    record = key.seal(KIND, f"{SLUG}/create_ticket/subject", SUBJECT.encode())
    reference = SEALED + base64.urlsafe_b64encode(record).decode()
    mesh.around.sealing_failure = grpc.StatusCode.UNAVAILABLE
    for call in (sealed(mesh), run(mesh, reference)):
        assert (await refusal(call)).reason == "DEPENDENCY_UNAVAILABLE"
    assert mesh.seen == []
    mesh.around.sealing_failure = None
    assert json.loads((await run(mesh, reference)).output_json)["subject"] == SUBJECT


async def test_what_cannot_be_sealed_is_refused_field_by_field(mesh: Mesh) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"pointer": "subject"}, "secrets[0].pointer"),
        ({"pointer": "/a~2"}, "secrets[0].pointer"),
        ({"pointer": "/" + "x" * 1000}, "secrets[0].pointer"),
        ({"secret": "x" * 65_537}, "secrets[0].secret"),
        ({"secret": ""}, "secrets[0].secret"),
        ({"action": "a b"}, "action"),
        ({"integration": "acme"}, "integration"),
    ]
    for fields, field in cases:
        refused = await refusal(sealed(mesh, **fields))
        assert (refused.code, list(refused.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
        assert "xxx" not in str(refused)
    # Nor does anybody seal for another workspace.
    stub: Any = SealedInputServiceStub(mesh.served.as_role("member", workspace="globex"))
    request = pb.SealInputRequest(
        parent="workspaces/acme",
        integration=f"integrations/{SLUG}",
        action="create_ticket",
        secrets=[pb.InputSecret(pointer="/subject", secret=SUBJECT)],
    )
    assert (await refusal(stub.SealInput(request))).reason == "RESOURCE_NOT_FOUND"
