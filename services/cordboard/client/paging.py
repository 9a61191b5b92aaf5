"""Whole lists: follows the pages of any List call to their end (AIP-158)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

LARGEST_PAGE: Final = 1000


async def list_all(method: Callable[..., Awaitable[Any]], request: Message, **options: Any) -> list[Any]:
    """Returns every item of a List call, from as few pages as the mesh gives; raises what the call raises.

    `method` is a stub's, such as `mesh.catalog.ListIntegrations`; `options` go with each call (`metadata`, `timeout`).
    The request is left as it was; its `page_size` is the size of one page, the largest if it has none.
    """
    asked: Any = type(request)()
    asked.CopyFrom(request)
    asked.page_size = asked.page_size or LARGEST_PAGE
    found: list[Any] = []
    while True:
        page = await method(asked, **options)
        found += getattr(page, _items(page))
        if not page.next_page_token:
            return found
        asked.page_token = page.next_page_token


def _items(page: Message) -> str:
    # The first field of a list's answer holds the items (AIP-132).
    return min((field for field in page.DESCRIPTOR.fields if field.is_repeated), key=lambda field: field.number).name
