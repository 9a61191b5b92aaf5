"""Webhooks as vendors sign them, each scheme written out here by hand; and every way to forge one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.webhooks import Arrived, Forged, TooMany, WebhookPlan

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "a-secret-that-both-know"
BODY = b'{"id":"evt_1","type":"ticket_made","ticket":{"id":7,"board":"b1"},"at":1772366400}'
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SHA256, SHA1, SHA512 = (
    pb.WEBHOOK_ALGORITHM_HMAC_SHA256,
    pb.WEBHOOK_ALGORITHM_HMAC_SHA1,
    pb.WEBHOOK_ALGORITHM_HMAC_SHA512,
)
STAMP = str(int(NOW.timestamp()))


def mac(content: bytes, key: bytes = SECRET.encode(), name: str = "sha256") -> bytes:
    return hmac.new(key, content, name).digest()


def a_plan(signature: dict[str, Any] | None = None, **fields: Any) -> WebhookPlan:
    signed = pb.WebhookSignature(**(signature or {"algorithm": SHA256, "header": "X-Signature"}))
    kinds = [
        pb.EventType(id="ticket.made", vendor_types=["ticket_made"]),
        pb.EventType(id="ticket.moved", vendor_types=["ticket.moved"]),
    ]
    given: dict[str, Any] = {"secret_variable": "hook", "type_pointer": "/type", "id_pointer": "/id"}
    return WebhookPlan(pb.Definition(event_types=kinds, webhook=pb.Webhook(signature=signed, **{**given, **fields})))


def arrived(body: bytes = BODY, method: str = "POST", query: dict[str, str] | None = None, **headers: str) -> Arrived:
    named = {name.replace("_", "-").lower(): [value] for name, value in headers.items()}
    return Arrived(method, named, query or {}, body)


def stripe_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan(
        {"algorithm": SHA256, "header": "X-Signature", "separator": ",", "timestamp_prefix": "t=", "prefix": "v1=",
         "signed_content": "{timestamp}.{body}"}
    )  # fmt: skip
    good = mac(f"{STAMP}.".encode() + BODY).hex()
    return plan, arrived(X_Signature=f"t={STAMP},v1={'0' * 64},v0=aa,v1={good}")


def github_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan({"algorithm": SHA256, "header": "X-Signature", "prefix": "sha256="})
    return plan, arrived(X_Signature=f"sha256={mac(BODY).hex()}")


def slack_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan(
        {"algorithm": SHA256, "header": "X-Signature", "prefix": "v0=", "timestamp_header": "X-Time",
         "signed_content": "v0:{timestamp}:{body}"}
    )  # fmt: skip
    return plan, arrived(X_Signature=f"v0={mac(f'v0:{STAMP}:'.encode() + BODY).hex()}", X_Time=STAMP)


def standard() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan(
        {"algorithm": SHA256, "header": "webhook-signature", "separator": " ", "prefix": "v1,",
         "timestamp_header": "webhook-timestamp", "signed_content": "{id}.{timestamp}.{body}",
         "encoding": pb.BYTES_ENCODING_BASE64, "key_encoding": pb.BYTES_ENCODING_BASE64, "key_prefix": "whsec_"},
        id_header="webhook-id", id_pointer="",
    )  # fmt: skip
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    proof = base64.b64encode(mac(f"msg_1.{STAMP}.".encode() + BODY, key)).decode()
    return plan, arrived(webhook_id="msg_1", webhook_timestamp=STAMP, webhook_signature=f"v1a,xx v1,{proof}")


def shopify_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan({"algorithm": SHA512, "header": "X-Signature", "encoding": pb.BYTES_ENCODING_BASE64})
    return plan, arrived(X_Signature=base64.b64encode(mac(BODY, name="sha512")).decode())


def discord_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan(
        {"algorithm": pb.WEBHOOK_ALGORITHM_ED25519, "header": "X-Signature", "timestamp_header": "X-Time",
         "signed_content": "{timestamp}{body}"}
    )  # fmt: skip
    return plan, arrived(X_Signature=KEY.sign(STAMP.encode() + BODY).hex(), X_Time=STAMP)


def gitlab_like() -> tuple[WebhookPlan, Arrived]:
    plan = a_plan({"algorithm": pb.WEBHOOK_ALGORITHM_SHARED_SECRET, "header": "X-Token"})
    return plan, arrived(X_Token=SECRET)


SECRETS = {standard: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", discord_like: KEY.public_key().public_bytes_raw().hex()}
SCHEMES = [stripe_like, github_like, slack_like, standard, shopify_like, discord_like, gitlab_like]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_vendor_signed_is_known(scheme: Any) -> None:
    plan, request = scheme()
    plan.verify(request, SECRETS.get(scheme, SECRET), NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_nobody_signed_is_refused(scheme: Any) -> None:
    plan, request = scheme()
    secret = SECRETS.get(scheme, SECRET)
    [name] = [one for one in request.headers if "signature" in one or "token" in one]
    [value] = request.headers[name]
    forgeries = [
        ({**request.headers, name: []}, BODY, secret),
        ({**request.headers, name: [value, value]}, BODY, secret),
        ({**request.headers, name: [""]}, BODY, secret),
        ({**request.headers, name: [value[:-2] + ("aa" if value[-2:] != "aa" else "bb")]}, BODY, secret),
        (request.headers, BODY, "another"),
        (request.headers, BODY, ""),
    ]
    if scheme is not gitlab_like:
        forgeries.append((request.headers, BODY + b" ", secret))
    for headers, body, known in forgeries:
        with pytest.raises(Forged):
            plan.verify(Arrived("POST", headers, {}, body), known, NOW)


@pytest.mark.parametrize("scheme", [stripe_like, slack_like, standard, discord_like])
def test_what_was_signed_long_ago_is_refused(scheme: Any) -> None:
    plan, request = scheme()
    secret = SECRETS.get(scheme, SECRET)
    for away in (299, -299):
        plan.verify(request, secret, NOW + timedelta(seconds=away))
    for away in (301, -301, 86_400):
        with pytest.raises(Forged):
            plan.verify(request, secret, NOW + timedelta(seconds=away))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_while_a_secret_is_replaced_both_are_good_and_no_third(scheme: Any) -> None:
    plan, request = scheme()
    secret = SECRETS.get(scheme, SECRET)
    other = base64.b64encode(b"x" * 32).decode() if scheme is not discord_like else "ab" * 32
    for both in (f"{secret}\n{other}", f"{other}\n{secret}", f"\n{other}\r\n\n{secret}\n"):
        plan.verify(request, both, NOW)
    for without in (other, f"{other}\n{other}", f"{other}\n{other}\n{secret}", f"{other} {secret}", "\n", ""):
        with pytest.raises(Forged):
            plan.verify(request, without, NOW)


def test_a_time_that_is_none_is_refused() -> None:
    plan, _ = slack_like()
    for text in ("", "soon", "nan", "-1", "9" * 70):
        request = arrived(X_Signature=f"v0={mac(f'v0:{text}:'.encode() + BODY).hex()}", X_Time=text)
        with pytest.raises(Forged):
            plan.verify(request, SECRET, NOW)


def test_a_body_cannot_fill_in_the_time() -> None:
    plan, _ = slack_like()
    body = b"{timestamp}{body}"
    request = arrived(body, X_Signature=f"v0={mac(f'v0:{STAMP}:'.encode() + body).hex()}", X_Time=STAMP)
    plan.verify(request, SECRET, NOW)


def test_a_check_that_lets_everything_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, request = github_like()
    monkeypatch.setattr(WebhookPlan, "_proves", lambda *_: True)
    plan.verify(Arrived("POST", request.headers, {}, b"forged"), SECRET, NOW)


def test_an_event_is_read_as_the_definition_says() -> None:
    plan = a_plan(ordering_key_pointer="/ticket/board", time_pointer="/at", data_pointer="/ticket")
    [told] = plan.events(arrived())
    assert (told.event_type, told.vendor_type, told.vendor_id, told.key) == (
        "ticket.made", "ticket_made", "evt_1", "b1",
    )  # fmt: skip
    assert told.time == NOW
    assert told.data == {"id": 7, "board": "b1"}


def test_the_type_may_stand_in_a_header_and_in_the_body() -> None:
    plan = a_plan(type_pointer="", type_header="X-Event", type_suffix_pointer="/action")
    [told] = plan.events(arrived(b'{"action":"moved"}', X_Event="ticket"))
    assert (told.event_type, told.vendor_type) == ("ticket.moved", "ticket.moved")
    [told] = plan.events(arrived(b'{"action":"burnt"}', X_Event="ticket"))
    assert (told.event_type, told.vendor_type) == ("", "ticket.burnt")


def test_a_list_is_several_events_and_too_long_a_one_is_refused() -> None:
    plan = a_plan(id_pointer="", id_header="X-Id")
    found = plan.events(arrived(b'[{"type":"ticket_made"},{"type":"x"}]', X_Id="d1"))
    assert [(one.event_type, one.vendor_id) for one in found] == [("ticket.made", "d1-0"), ("", "d1-1")]
    inner = a_plan(events_pointer="/events").events(arrived(b'{"events":[{"id":1,"type":"a"},{"id":2,"type":"b"}]}'))
    assert [one.vendor_id for one in inner] == ["1", "2"]
    with pytest.raises(TooMany):
        plan.events(arrived(json.dumps([0] * 1001).encode()))


def test_without_an_id_the_same_bytes_are_the_same_event() -> None:
    plan = a_plan(id_pointer="")
    ids = [plan.events(arrived(body))[0].vendor_id for body in (BODY, BODY, BODY + b" ")]
    assert ids[0] == ids[1] != ids[2]
    long = a_plan().events(arrived(json.dumps({"id": "x" * 300}).encode()))[0].vendor_id
    assert long == f"sha256-{hashlib.sha256(b'x' * 300).hexdigest()}"


def test_what_cannot_be_read_is_kept_as_text() -> None:
    [told] = a_plan().events(arrived(b"\xffnot json"))
    assert (told.event_type, told.data) == ("", "\ufffdnot json")
    form = arrived(b"payload=%7B%22id%22%3A5%2C%22type%22%3A%22ticket_made%22%7D",
                   content_type="application/x-www-form-urlencoded")  # fmt: skip
    assert a_plan().events(form)[0].vendor_id == "5"


def test_questions_are_answered() -> None:
    asked = pb.WebhookChallenge(
        pointer="/challenge", condition_pointer="/type", condition_equals="verify", answer_member="challenge",
        hmac_member="proof",
    )  # fmt: skip
    plan = a_plan(challenges=[asked, pb.WebhookChallenge(query_parameter="hub.challenge")])
    body = b'{"type":"verify","challenge":"abc"}'
    request = arrived(body, X_Signature=mac(body).hex())
    answer = plan.answer(request, SECRET, NOW)
    assert answer is not None
    assert json.loads(answer) == {"challenge": "abc", "proof": mac(b"abc").hex()}
    with pytest.raises(Forged):
        plan.answer(arrived(body), SECRET, NOW)
    assert plan.answer(arrived(), SECRET, NOW) is None
    assert plan.answer(arrived(b"", "GET", {"hub.challenge": "42"}), SECRET, NOW) == b"42"
    for query in ({}, {"hub.challenge": "x" * 1025}):
        with pytest.raises(Forged):
            plan.answer(arrived(b"", "GET", query), SECRET, NOW)
    asked.unsigned = True
    loose = a_plan(challenges=[pb.WebhookChallenge(pointer="/challenge", unsigned=True)])
    assert loose.answer(arrived(b'{"challenge":"abc"}'), SECRET, NOW) == b"abc"
