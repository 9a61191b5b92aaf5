"""How answers become outputs."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.decoders import Undecodable
from cordboard.planning.interpretation import Interpretation

PAGED = pb.Paging(items_pointer="/data", link=pb.LinkPaging())


def reading(paging: pb.Paging | None = None, **response: Any) -> Interpretation:
    said = json_format.ParseDict(response, pb.Response())
    return Interpretation(pb.Definition(), pb.Action(response=said, paging=paging))


def answer(body: Any = b"", content_type: str = "application/json", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(200, content_type, content, headers=named)


def output(given: Answer, **response: Any) -> Any:
    made = reading(**response).output(given)
    assert made.content_type == "application/json"
    return made.json()


def test_where_nothing_is_said_the_answer_is_the_output_as_it_came() -> None:
    for given in (answer({"a": 1}), answer(b"<html>", "text/html"), answer(b"")):
        assert reading().output(given) is given


def test_json_is_kept_to_the_letter_whatever_its_media_type_says() -> None:
    made = reading(decoder="DECODER_JSON").output(answer(b'{"a": 1.50 }', "text/plain"))
    assert (made.body, made.content_type) == (b'{"a": 1.50 }', "application/json")


def test_a_pointer_picks_a_part() -> None:
    assert output(answer({"data": {"items": [1, 2]}}), outputPointer="/data/items") == [1, 2]
    assert output(answer({"data": {}}), outputPointer="/data/items") is None


def test_members_pick_rename_and_fix() -> None:
    members = [
        {"name": "id", "pointer": "/key"},
        {"name": "gone", "pointer": "/nowhere"},
        {"name": "empty", "pointer": "/none"},
        {"name": "where", "header": "location"},
        {"name": "no", "header": "X-No"},
        {"name": "kind", "valueJson": '{"a":[1]}'},
        {"name": "nothing", "valueJson": "null"},
    ]
    made = output(answer({"key": 7, "none": None}, Location="/7"), members=members)
    assert made == {"id": 7, "empty": None, "where": "/7", "kind": {"a": [1]}, "nothing": None}


def test_members_are_made_of_each_item_of_a_list() -> None:
    given = answer({"data": [{"key": 1, "more": "x"}, {}]})
    assert output(given, outputPointer="/data", members=[{"name": "id", "pointer": "/key"}]) == [{"id": 1}, {}]


def test_a_header_is_an_output_even_of_an_answer_without_a_body() -> None:
    assert output(answer(b"", "", Location="/7"), members=[{"name": "at", "header": "Location"}]) == {"at": "/7"}


def test_what_a_decoder_reads_is_mapped_like_json() -> None:
    xml = answer(b"<r><i><n>1</n></i><i><n>2</n></i></r>", "application/xml")
    members = [{"name": "n", "pointer": "/n"}]
    assert output(xml, decoder="DECODER_XML", outputPointer="/r/i", members=members) == [{"n": "1"}, {"n": "2"}]
    packed = answer(gzip.compress(b"a,b\n1,2\n"), "application/gzip")
    assert output(packed, decoder="DECODER_CSV") == [{"a": "1", "b": "2"}]


def test_bytes_that_a_definition_wants_as_they_are_stay_packed() -> None:
    packed = gzip.compress(b"a", mtime=0)
    assert output(answer(packed), decoder="DECODER_BINARY").startswith("H4sI")


def test_without_a_decoder_the_media_type_says_what_is_mapped() -> None:
    members = [{"name": "all", "pointer": ""}]
    assert output(answer(b"hi", "text/plain"), members=members) == {"all": "hi"}
    assert output(answer(b"\xff", "image/png"), members=members) == {"all": "/w=="}


def test_an_ignored_answer_has_no_output() -> None:
    ignored = answer({"a": 1}).without_output()
    made = reading(decoder="DECODER_CSV", members=[{"name": "x", "valueJson": "1"}]).output(ignored)
    assert (made.body, made.json()) == (b"", None)


@pytest.mark.parametrize("extra", [{}, {"outputPointer": "/a"}])
def test_an_answer_that_cannot_be_read_is_no_output(extra: dict[str, Any]) -> None:
    with pytest.raises(Undecodable):
        reading(decoder="DECODER_JSON", **extra).output(answer(b"<html>"))


def test_members_cannot_blow_an_answer_up() -> None:
    many = answer([0] * 200_000)
    with pytest.raises(Undecodable, match="larger output"):
        reading(members=[{"name": "x", "valueJson": orjson.dumps("x" * 1000).decode()}]).output(many)
    with pytest.raises(Undecodable, match="larger output"):
        reading(members=[{"name": "x", "header": "X-Long"}]).output(
            Answer(200, "application/json", many.body, headers=CIMultiDict({"X-Long": "x" * 1000}))
        )
    repeated = [{"name": str(index), "pointer": ""} for index in range(200)]
    with pytest.raises(Undecodable, match="larger output"):
        reading(members=repeated).output(many)


def test_pages_are_read_from_the_whole_and_their_items_are_mapped() -> None:
    given = answer({"data": [{"key": 1}], "next": "x"})
    members = [{"name": "id", "pointer": "/key"}]
    mapped = reading(PAGED, outputPointer="/data", members=members)
    assert mapped.document(given)["next"] == "x"
    assert mapped.items([{"key": 1}], given) == [{"id": 1}]
    assert reading(PAGED, members=members).items([{"key": 1}], given) == [{"key": 1}]


def test_without_pages_the_output_is_what_a_stream_gives() -> None:
    given = answer({"data": [{"key": 1}]})
    single = reading(outputPointer="/data", members=[{"name": "id", "pointer": "/key"}])
    assert single.document(given) == [{"id": 1}]
    assert single.items([{"id": 1}], given) == [{"id": 1}]


def test_rules_see_errors_in_json_and_in_xml_whatever_the_output_is() -> None:
    told = pb.ErrorRule(pointer="/Error/Code", equals=["SlowDown"], action=pb.ERROR_ACTION_RATE_LIMITED)
    interpretation = Interpretation(
        pb.Definition(error_rules=[told], error_message_pointers=["/Error/Message"]), pb.Action()
    )
    xml = answer(b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Later</Message></Error>", "text/xml")
    json = answer({"Error": {"Code": "SlowDown"}}, "text/plain")
    assert interpretation.verdict(xml).action == interpretation.verdict(json).action == pb.ERROR_ACTION_RATE_LIMITED
    assert interpretation.words(xml) == "Later"
    assert interpretation.verdict(answer(b"rubbish")).good
