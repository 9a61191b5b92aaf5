"""Which set of flags a client asks for: the flags of an environment are one set, and a token belongs to one of them."""

from __future__ import annotations

from typing import Any, Final

from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields

HEADER: Final = "flagd-selector"
MEMBERS: Final = ("flagSetId", "source")


def check_selector(context: Any, field: str = "") -> None:
    """Returns when the selector names the caller's own environment, or nothing; raises InvalidFields.

    The header wins over `field`, which is deprecated. A name alone is that of a source, as flagd has it.
    """
    selector = headers.first(context, HEADER) or field
    if not selector:
        return
    member, _, name = selector.rpartition("=")
    if member and member not in MEMBERS:
        raise InvalidFields.one("selector", f"must be {' or '.join(f'{each}=NAME' for each in MEMBERS)}")
    environment = current_caller().environment
    if name and name != environment:
        raise InvalidFields.one("selector", "names a set of flags that is not that of the token's environment")
