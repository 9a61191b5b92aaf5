from __future__ import annotations

import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cordboard.telemetry.redaction import MAX_ATTRIBUTES, MAX_TEXT, REDACTED, Redaction, clean_text, is_secret
from cordboard.telemetry.spans import texts
from tests.fixtures.otlp import an_attribute

CANARY = "canary-9f8e7d6c5b4a"
JWT = f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ{CANARY}.c2lnbmF0dXJl"


def cleaned(attributes: dict[str, object]) -> dict[str, str]:
    span = Span(attributes=[an_attribute(key, value) for key, value in attributes.items()])
    redaction = Redaction()
    returned, dropped = redaction.attributes(span.attributes)
    # What is searched is what is shown, and cleaning what is clean changes nothing.
    assert (returned, dropped) == (texts(span.attributes), 0)
    assert redaction.attributes(span.attributes) == (returned, 0)
    return returned


@pytest.mark.parametrize(
    "key",
    ["authorization", "http.request.header.Authorization", "Cookie", "set-cookie", "x-api-key", "API_KEY", "apikey",
     "access_token", "db.password", "passwd", "client_secret", "cordboard.credential", "private-key"],
)  # fmt: skip
def test_an_attribute_with_a_secret_sounding_name_loses_its_text(key: str) -> None:
    assert cleaned({key: CANARY}) == {key: REDACTED}


@pytest.mark.parametrize("key", ["cordboard.workspace", "http.request.method", "rpc.method", "server.address", "keys"])
def test_an_attribute_with_a_harmless_name_keeps_its_text(key: str) -> None:
    assert cleaned({key: CANARY}) == {key: CANARY}


def test_figures_stay_under_a_secret_sounding_name() -> None:
    assert cleaned({"cordboard.credential.generation": 3, "gen_ai.usage.input_tokens": 2.5, "token.fresh": True}) == {
        "cordboard.credential.generation": "3",
        "gen_ai.usage.input_tokens": "2.5",
        "token.fresh": "true",
    }


def test_secrets_inside_lists_and_dicts_and_bytes_are_found() -> None:
    found = cleaned(
        {
            "headers": {"Authorization": CANARY, "accept": "text/plain", "more": [{"api-key": [CANARY]}]},
            "session_token": [CANARY, {"a": CANARY}],
            "secret": CANARY.encode(),
        }
    )
    assert CANARY not in str(found)
    assert "text/plain" in found["headers"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"https://api.example.com/v1/x?key={CANARY}&b=1#f", "https://api.example.com/v1/x"),
        (f"GET https://u:{CANARY}@h.example/p?q failed", "GET https://h.example/p failed"),
        (f"postgresql://role:{CANARY}@localhost/db", "postgresql://localhost/db"),
        (f"sent Bearer {CANARY} twice", f"sent {REDACTED} twice"),
        (f"sent {JWT}, refused", f"sent {REDACTED}, refused"),
        (f"bad login: password='{CANARY}'", f"bad login: password='{REDACTED}'"),
        (f'{{"client_secret": "{CANARY}"}}', f'{{"client_secret": "{REDACTED}"}}'),
        (f"a=1&access_token={CANARY}&b=2", f"a=1&access_token={REDACTED}&b=2"),
        ("the access token is not accepted", "the access token is not accepted"),
        ("see https://docs.example.com/basic for more", "see https://docs.example.com/basic for more"),
    ],
)
def test_texts_lose_what_looks_like_a_secret_and_nothing_else(text: str, left: str) -> None:
    assert clean_text(text) == left


def test_paths_and_queries_in_attributes_of_their_own_are_cut() -> None:
    assert cleaned({"url.path": f"/v1/x?k={CANARY}", "url.query": f"k={CANARY}", "url.scheme": "https"}) == {
        "url.path": "/v1/x",
        "url.query": REDACTED,
        "url.scheme": "https",
    }


def test_older_names_get_their_current_ones() -> None:
    assert cleaned({"http.status_code": "200", "http.url": "https://h/p?q=1", "grpc.status_code": "0"}) == {
        "http.response.status_code": "200",
        "url.full": "https://h/p",
        "rpc.response.status_code": "0",
    }


def test_long_texts_and_long_lists_are_cut_and_counted() -> None:
    span = Span(attributes=[an_attribute(f"a{index}", "x" * 100_000) for index in range(MAX_ATTRIBUTES + 5)])
    _, dropped = Redaction().attributes(span.attributes)
    assert (dropped, len(span.attributes)) == (5, MAX_ATTRIBUTES)
    assert len(span.attributes[0].value.string_value) == MAX_TEXT + 1


def test_nul_is_not_left_in_a_key_or_a_text() -> None:
    assert cleaned({"a\0b": "c\0d"}) == {"a\N{REPLACEMENT CHARACTER}b": "c\N{REPLACEMENT CHARACTER}d"}


@pytest.mark.parametrize(
    "piece", ["://", "eyJ", "basic ", "bearer\t", "token ", "password=", "a@", "eyJaaaaaaaa.", "'"]
)
def test_hostile_texts_take_no_longer_than_others(piece: str) -> None:
    text = (piece * MAX_TEXT)[:MAX_TEXT]
    begun = time.perf_counter()
    for _ in range(20):
        clean_text(text)
    assert (time.perf_counter() - begun) / 20 < 0.02


def test_the_case_of_a_name_does_not_matter() -> None:
    assert is_secret("X-API-Key")
    assert not is_secret("x-request-id")


def test_what_is_remembered_is_bounded_and_holds_no_secret() -> None:
    redaction = Redaction()
    for index in range(20_000):
        assert redaction.text(f"clean {index}") == f"clean {index}"
        assert redaction.text(f"token={CANARY}{index}") == f"token={REDACTED}"
        redaction.attributes([an_attribute(f"key-{index}", CANARY), an_attribute(f"secret-{index}", CANARY)])
    remembered = redaction.__dict__
    assert max(map(len, remembered.values())) <= 4096
    assert f"{CANARY}1" not in str(remembered)
