"""What the paging of an action must mean: it can get from each page to the next, and it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.findings import shown
from cordboard.catalog.syntax import is_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Paging

_NEEDED: Final = frozenset({"cursor_property", "page_property", "offset_property"})


def check_paging(paging: Paging, properties: Mapping[str, Any], found: Findings) -> None:
    """Notes everything that is wrong with the paging; `properties` are those of the action's input."""
    found.require(is_pointer(paging.items_pointer), "items_pointer", "is not a JSON Pointer")
    kind = paging.WhichOneof("kind")
    if kind is None:
        kinds = ", ".join(field.name for field in paging.DESCRIPTOR.oneofs_by_name["kind"].fields)
        found.add("", f"must say how the next page is asked for: {kinds}")
        return
    plan: Any = getattr(paging, kind)
    below = found.below(kind)
    for field in plan.DESCRIPTOR.fields:
        value = getattr(plan, field.name)
        if field.name.endswith("_property"):
            if (value or field.name in _NEEDED) and value not in properties:
                below.add(field.name, f"{shown(value)} is not a property of the input")
        elif field.name == "first_page":
            below.require(value >= 0, field.name, "must not be negative")
    if kind == "cursor":
        _check_next(plan.next_pointer, plan.next_header, below)
    elif kind == "next_url":
        _check_next(plan.next_pointer, "", below)


def _check_next(pointer: str, header: str, found: Findings) -> None:
    if pointer and header:
        found.add("next_header", "cannot stand beside `next_pointer`")
    elif not header:
        held = pointer != "" and is_pointer(pointer)
        found.require(held, "next_pointer", "is not a JSON Pointer to a member")
