"""The webhooks of shipped definitions: signed here as each vendor writes that it signs, and read as the Proxy does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cordboard.catalog.document import read
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.webhooks import Arrived, Forged, WebhookPlan

FOLDER = Path(__file__).resolve().parents[3] / "integrations"
NOW = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "whsec_as_the_vendor_shows_it"


def definition(slug: str) -> pb.Definition:
    return read((FOLDER / f"{slug}.yaml").read_text(encoding="utf-8")).definition


def sha256(content: bytes) -> bytes:
    return hmac.new(SECRET.encode(), content, hashlib.sha256).digest()


def github(body: bytes) -> dict[str, str]:
    return {
        "x-hub-signature-256": f"sha256={sha256(body).hex()}",
        "x-github-event": "issues",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    }


def stripe(body: bytes) -> dict[str, str]:
    return {"stripe-signature": f"t={STAMP},v1={sha256(f'{STAMP}.'.encode() + body).hex()},v0=00"}


def slack(body: bytes) -> dict[str, str]:
    proof = sha256(f"v0:{STAMP}:".encode() + body).hex()
    return {"x-slack-signature": f"v0={proof}", "x-slack-request-timestamp": STAMP}


def gitlab(_: bytes) -> dict[str, str]:
    return {"x-gitlab-token": SECRET, "x-gitlab-event": "Push Hook", "idempotency-key": "k-1"}


def shopify(body: bytes) -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": base64.b64encode(sha256(body)).decode(),
        "x-shopify-topic": "orders/create",
        "x-shopify-webhook-id": "w-1",
    }


CASES: list[tuple[str, Any, dict[str, Any], str, str, str]] = [
    ("github", github, {"action": "opened", "issue": {}, "repository": {"full_name": "acme/desk"}}, "issues.opened",
     "72d3162e-cc78-11e3-81ab-4c9367dc0958", "acme/desk"),
    ("stripe", stripe, {"id": "evt_1", "type": "invoice.paid", "created": 1777622400,
                        "data": {"object": {"id": "in_1"}}}, "invoice.paid", "evt_1", "in_1"),
    ("slack", slack, {"type": "event_callback", "event_id": "Ev1", "event_time": 1777622400,
                      "event": {"type": "message", "channel": "C1", "text": "hi"}}, "message", "Ev1", "C1"),
    ("gitlab", gitlab, {"object_kind": "push", "project": {"id": 7}}, "push", "k-1", "7"),
    ("shopify", shopify, {"id": 820982911946154508}, "orders.create", "w-1", "820982911946154508"),
]  # fmt: skip


@pytest.mark.parametrize(("slug", "signed", "event", "kind", "vendor_id", "key"), CASES, ids=[one[0] for one in CASES])
def test_a_vendors_webhook_is_known_and_read(
    slug: str, signed: Any, event: dict[str, Any], kind: str, vendor_id: str, key: str
) -> None:
    plan, body = WebhookPlan(definition(slug)), json.dumps(event).encode()
    headers = {name: [value] for name, value in signed(body).items()}
    arrived = Arrived("POST", headers, {}, body)
    assert plan.answer(arrived, SECRET, NOW) is None
    plan.verify(arrived, SECRET, NOW)
    [told] = plan.events(arrived)
    assert (told.event_type, told.vendor_id, told.key) == (kind, vendor_id, key)
    with pytest.raises(Forged):
        plan.verify(arrived, "another", NOW)


def test_every_shipped_webhook_has_a_case() -> None:
    slugs = {path.stem for path in FOLDER.glob("*.yaml") if read(path.read_text()).definition.HasField("webhook")}
    assert slugs == {one[0] for one in CASES}


def test_slack_is_answered_when_it_asks() -> None:
    plan = WebhookPlan(definition("slack"))
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}).encode()
    headers = {name: [value] for name, value in slack(body).items()}
    assert plan.answer(Arrived("POST", headers, {}, body), SECRET, NOW) == b"3eZbrw1a"
