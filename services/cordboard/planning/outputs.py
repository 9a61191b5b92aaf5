"""How the value of an answer becomes the output of its action. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.decoders import MAX_BYTES, Undecodable
from cordboard.planning.pointers import pointed

_NOTHING: Final = object()
# Of JSON between a name and the next one.
_PUNCTUATION: Final = 6


class Output:
    """Makes outputs: a part of the value, or an object of members that are picked, renamed or fixed."""

    def __init__(self, response: pb.Response) -> None:
        """Takes where the output is, and its members."""
        self.pointer = response.output_pointer
        self._members = tuple(response.members)
        self._fixed = {one.name: orjson.loads(one.value_json) for one in self._members if one.value_json}
        self._overlap = _overlap([one.pointer for one in self._members if one.WhichOneof("source") == "pointer"])
        self._width = sum(len(one.name) + len(one.value_json) + _PUNCTUATION for one in self._members)

    @property
    def is_whole(self) -> bool:
        """Tells whether the value is the output as it is."""
        return not (self.pointer or self._members)

    def of(self, value: Any, headers: Mapping[str, str], size: int) -> Any:
        """Returns the output: null where the pointer leads nowhere; raises Undecodable as `made` does."""
        return self.made(pointed(value, self.pointer), headers, size)

    def made(self, found: Any, headers: Mapping[str, str], size: int) -> Any:
        """Returns what the members make of a value, of each item of a list; without members the value itself.

        A member whose pointer leads nowhere, or whose header is not there, is left out. `size` is the answer's, in
        bytes. Raises Undecodable where members repeat so much that the output is larger than any answer may be.
        """
        if not self._members:
            return found
        taken = {one.name: headers[one.header] for one in self._members if one.header and one.header in headers}
        count = len(found) if isinstance(found, list) else 1
        if count * (self._width + sum(map(len, taken.values()))) + self._overlap * size > MAX_BYTES:
            raise Undecodable("makes a larger output than is taken")
        given = {**self._fixed, **taken}
        return [self._one(item, given) for item in found] if isinstance(found, list) else self._one(found, given)

    def each(self, values: Sequence[Any], headers: Mapping[str, str], size: int) -> list[Any]:
        """Returns the outputs of several values; raises Undecodable as `made` does."""
        found: list[Any] = self.made([pointed(value, self.pointer) for value in values], headers, size)
        return found

    def _one(self, item: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for one in self._members:
            value = given.get(one.name, _NOTHING)
            if one.WhichOneof("source") == "pointer":
                value = pointed(item, one.pointer, _NOTHING)
            if value is not _NOTHING:
                made[one.name] = value
        return made


def _overlap(pointers: Sequence[str]) -> int:
    """Returns how often one byte of a value can come into an output."""
    return max((sum(f"{one}/".startswith(f"{other}/") for other in pointers) for one in pointers), default=0)
