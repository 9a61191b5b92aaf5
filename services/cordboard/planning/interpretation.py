"""How the answers to one action are read: what they mean, what the output is, what they say about limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.decoders import MAX_VALUES, Undecodable, decode, text_of, unpacked
from cordboard.planning.dialect import Dialect
from cordboard.planning.events import MAX_ITEM, reader_of
from cordboard.planning.outputs import Output
from cordboard.planning.verdicts import Judgement, Verdict, vendors_words
from cordboard.planning.xml_documents import read_xml

_QUICK: Final = 256 * 1024


class Interpretation:
    """Reads the answers to one action."""

    def __init__(self, definition: pb.Definition, action: pb.Action) -> None:
        """Takes the action, and the definition it stands in."""
        retry = retry_of(definition, action)
        self.dialect = Dialect(
            (definition.rate_limit_headers, *definition.more_rate_limit_headers),
            retry.wait_headers if retry is not None else (),
        )
        self._judgement = Judgement((*action.error_rules, *definition.error_rules), action.response.success_statuses)
        self._decoder = action.response.decoder
        self._output = Output(action.response)
        self.streaming = action.streaming
        self._is_paged = action.HasField("paging")
        self._maps_items = self._is_paged and action.paging.items_pointer == self._output.pointer
        self._words = (*action.response.error_message_pointers, *definition.error_message_pointers)

    def verdict(self, answer: Answer) -> Verdict:
        """Returns what an answer means."""
        return self._judgement.verdict(answer, lambda: _readable(answer))

    def words(self, answer: Answer) -> str:
        """Returns what an error answer tells, where the definition says that it does; empty: nothing."""
        return vendors_words(_readable(answer), self._words) if self._words else ""

    @property
    def lists_single_items(self) -> bool:
        """Tells whether a list of one item cannot be told from the item, as in XML."""
        return self._decoder == pb.DECODER_XML

    def is_quick(self, answer: Answer) -> bool:
        """Tells whether reading the answer takes so little time that nobody else has to wait for it."""
        return self._is_plain or len(answer.body) <= _QUICK

    def document(self, answer: Answer) -> Any:
        """Returns what pages are read from: the value of an answer, before anything is picked out of it.

        Of an action without pages that is the output. Raises Undecodable.
        """
        if not self._is_paged:
            return _json(self.output(answer))
        return self._value(self._unpacked(answer)) if self._decoder else _json(answer)

    def output(self, answer: Answer) -> Answer:
        """Returns the answer with the output as its JSON; as it came where the definition says nothing of outputs.

        Raises Undecodable.
        """
        if self._is_plain or answer.ignored:
            return answer
        plain = self._unpacked(answer)
        if self._reads_items:
            return plain.saying(self.streamed(self._value(plain), plain))
        value = self._value(plain)
        if self._decoder == pb.DECODER_JSON and self._output.is_whole:
            return plain.of_json()
        try:
            return plain.saying(self._output.of(value, plain.headers, len(plain.body)))
        except TypeError:
            raise Undecodable("is nested more deeply than is taken") from None

    def items(self, items: Sequence[Any], answer: Answer) -> list[Any]:
        """Returns the items of a page as outputs, where the output's members are those of an item.

        Raises Undecodable.
        """
        found = list(items)
        return self._output.made(found, answer.headers, len(answer.body)) if self._maps_items else found

    def streamed(self, items: Sequence[Any], answer: Answer) -> list[Any]:
        """Returns items of a stream as outputs; raises Undecodable."""
        return self._output.each(items, answer.headers, MAX_ITEM)

    def _value(self, answer: Answer) -> Any:
        if self._reads_items:
            if answer.body.count(b"\n") + answer.body.count(b"\r") > MAX_VALUES:
                raise Undecodable("has more lines than are taken")
            reader = reader_of(self.streaming)
            return [*reader.read(answer.body), *reader.end()]
        return decode(self._decoder, answer.body, answer.content_type) if self._decoder else _by_media_type(answer)

    def _unpacked(self, answer: Answer) -> Answer:
        packed = self._decoder not in (pb.DECODER_UNSPECIFIED, pb.DECODER_BINARY)
        # No text begins as gzip does.
        return answer.with_body(unpacked(answer.body)) if packed else answer

    @property
    def _is_plain(self) -> bool:
        return not self._decoder and self._output.is_whole and not self._reads_items

    @property
    def _reads_items(self) -> bool:
        # Bytes read whole are an answer like any other.
        return self.streaming not in (pb.STREAM_KIND_UNSPECIFIED, pb.STREAM_KIND_BYTES)


def retry_of(definition: pb.Definition, action: pb.Action) -> pb.RetryPolicy | None:
    """Returns when a failed attempt is made again, the action's own words before the definition's; None: no word."""
    for holder in (action, definition):
        if holder.HasField("retry"):
            return holder.retry
    return None


def _readable(answer: Answer) -> Any:
    # Errors come as JSON under every media type, whatever the answer would have been without them.
    try:
        if answer.body.lstrip().startswith(b"<"):
            return read_xml(answer.body, most=MAX_VALUES)
        return orjson.loads(answer.body)
    except ValueError:
        return None


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise Undecodable("is not JSON") from None


def _by_media_type(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        if answer.media_type.startswith("text/"):
            return text_of(answer.body, answer.content_type)
        return decode(pb.DECODER_BINARY, answer.body)
