"""What calls cost: the operator's price table, a file of units for calls and for data, each from a day on."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

    from cordboard.telemetry.rates import Rate

logger = logging.getLogger(__name__)

EVERY: Final = "*"
MAX_BYTES: Final = 1024**2
MINUTES_OF_DAY: Final = 1440
BYTES_OF_MEGABYTE: Final = 1_000_000
_EPOCH: Final = date(1970, 1, 1)

Units = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Price(BaseModel):
    """What one call and one megabyte of answers cost. Failed calls cost as others do: vendors count them too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    integration: str = Field(min_length=1, max_length=255)
    """The slug; `*`: every integration that has no price of its own."""
    action: str = Field("", max_length=255)
    """The action; empty: every action that has no price of its own."""
    call: Units = 0.0
    megabyte: Units = 0.0
    since: date = _EPOCH
    """The day (UTC) from which on it holds."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prices: list[Price] = Field(max_length=10_000)


class PriceFileInvalid(ValueError):
    """A price file cannot be used; the text says why, and where."""


@dataclass(frozen=True)
class Prices:
    """A price table."""

    by_subject: dict[tuple[str, str], list[Price]]
    """By integration and action, the newest first."""

    def cost(self, minute: int, integration: str, action: str, rate: Rate) -> float:
        """Returns what the calls of an hour cost that began at a minute since 1970; the most specific price counts."""
        day = minute // MINUTES_OF_DAY
        for subject in ((integration, action), (integration, ""), (EVERY, "")):
            for price in self.by_subject.get(subject, ()):
                if (price.since - _EPOCH).days <= day:
                    return price.call * rate.calls + price.megabyte * rate.received / BYTES_OF_MEGABYTE
        return 0.0


def read_prices(text: str) -> Prices:
    """Returns the table in a YAML text; raises PriceFileInvalid."""
    try:
        found = _File.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise PriceFileInvalid("it is no YAML" + (f", at line {mark.line + 1}" if mark else "")) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise PriceFileInvalid(f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None
    by_subject: dict[tuple[str, str], list[Price]] = {}
    for price in sorted(found.prices, key=lambda one: one.since, reverse=True):
        if price.integration == EVERY and price.action:
            raise PriceFileInvalid(f"action: {price.action!r} needs the integration that it belongs to")
        known = by_subject.setdefault((price.integration, price.action), [])
        if known and known[-1].since == price.since:
            raise PriceFileInvalid(
                f"{price.integration} {price.action}: two prices from {price.since} on".replace("  ", " ")
            )
        known.append(price)
    return Prices(by_subject)


class PriceList:
    """The price table of a file, which is read again when the file changes."""

    def __init__(self, file: Path | None) -> None:
        """Takes the file, None: nothing costs anything. Raises PriceFileInvalid: a mistake is seen at the start."""
        self._file = file
        self._prices = Prices({})
        self._seen: tuple[int, int] | None = None
        if file is not None:
            self._seen = _stamp(file)
            self._prices = read_price_file(file)

    async def current(self) -> Prices:
        """Returns the table as it is now; a file that has become unusable leaves the last one in force."""
        if self._file is not None:
            await asyncio.to_thread(self._look, self._file)
        return self._prices

    def _look(self, file: Path) -> None:
        try:
            seen = _stamp(file)
            if seen != self._seen:
                self._prices = read_price_file(file)
                self._seen = seen
                logger.info("prices were read again", extra={"prices": len(self._prices.by_subject)})
        except PriceFileInvalid as error:
            logger.warning("the price file cannot be used; the last prices hold", extra={"problem": str(error)})


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise PriceFileInvalid(f"{file.name} cannot be read: {type(error).__name__}") from None
    return found.st_mtime_ns, found.st_size


def read_price_file(file: Path) -> Prices:
    """Returns the table in a file; raises PriceFileInvalid."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileInvalid(f"{file.name} cannot be read: {type(error).__name__}") from None
    if len(raw) > MAX_BYTES:
        raise PriceFileInvalid(f"{file.name} has more than {MAX_BYTES} bytes")
    return read_prices(text)
