"""Text and JSON from outside, made harmless: one kind of cleaning for people's eyes, one strict reading of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BRACES: Final = re.compile(r"\{(?=\{)|\}(?=\})")
_WORDS: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class JsonInvalid(ValueError):
    """A text is not JSON that can travel on; the text says why and never quotes it."""


def clean(text: str, limit: int) -> str:
    """Returns `text` without control characters and lone surrogates, trimmed, at most `limit` characters long."""
    cleaned = _CONTROL.sub("", text[: limit * 2]).strip()
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + "…"


def neutral(text: str) -> str:
    """Returns `text` with no `{{` or `}}` left in it, so that no client can take it for an expression."""
    return _BRACES.sub(lambda found: found.group() + " ", text)


def humanise(name: str) -> str:
    """Returns a label derived from a name of the API: `page_size`, `pageSize` and `page[size]` give `Page size`."""
    words = _WORDS.findall(_CAMEL.sub(" ", clean(name, 100)))
    label = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return label[:1].upper() + label[1:] if label else clean(name, 100)


def plain_label(value: str | float) -> str:
    """Returns what people read for a value that has no title of its own."""
    return clean(value, 200) if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """Returns compact JSON text, with its keys in the order they came."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_json(text: str, depth: int) -> Any:
    """Returns the JSON value of `text`, nested at most `depth` levels; raises JsonInvalid."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise JsonInvalid(f"is nested more than {depth} levels deep") from None
    except ValueError:
        raise JsonInvalid("is not JSON text") from None
    check_json(value, depth)
    return value


def check_json(value: Any, depth: int) -> None:
    """Raises JsonInvalid when a JSON value is deeper than `depth`, not finite, or has text that is not Unicode."""
    level: list[Any] = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                _check_texts(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_texts((item,))
            elif isinstance(item, float) and not math.isfinite(item):
                raise JsonInvalid("has a number that is not finite")
        if not below:
            return
        level = below
    raise JsonInvalid(f"is nested more than {depth} levels deep")


def _check_texts(texts: Iterable[str]) -> None:
    if any(_SURROGATE.search(text) for text in texts):
        raise JsonInvalid("has text that is not Unicode")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
