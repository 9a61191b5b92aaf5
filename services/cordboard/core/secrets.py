"""A value that must not be seen: it prints as `***` wherever it goes by accident."""

from __future__ import annotations

from typing import Final, Generic, NoReturn, TypeVar

T = TypeVar("T")

SEALED: Final = "cordboard-sealed-v1:"
"""What a text begins with that stands for a secret: it was sealed, and whoever may use it opens it."""


class Secret(Generic[T]):
    """Holds a secret. Only `reveal()` gives it back; printing, formatting, pickling and comparing do not."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        """Takes the secret value."""
        self._value = value

    def reveal(self) -> T:
        """Returns the secret, for the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        """Returns stars."""
        return "Secret(***)"

    def __str__(self) -> str:
        """Returns stars."""
        return "***"

    def __format__(self, spec: str) -> str:
        """Returns stars."""
        return "***"

    def __reduce__(self) -> NoReturn:
        """Raises: a secret is never pickled."""
        raise TypeError("a secret cannot be pickled")
