"""What a vendor answered, read whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson
from multidict import MultiMapping

from cordboard.planning.dialect import NO_QUOTA, Dialect, Quota

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, read whole."""

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    quota: Quota = NO_QUOTA
    retry_after: float | None = None
    """Seconds that the vendor wants to be left alone."""
    reset_after: float | None = None
    """Seconds until the quota's window ends."""
    link: str = field(default="", repr=False)
    """The Link header."""
    location: str = field(default="", repr=False)
    """The Location header."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Finds names in any case."""
    ignored: bool = False
    """It is a success without output, whatever it says."""

    @property
    def media_type(self) -> str:
        """Returns the media type in lower case, without parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    def wait(self, *, limited: bool) -> float | None:
        """Returns the seconds to wait before the request is made again, or None where the answer does not say.

        `limited` tells that the vendor's limit is reached: the end of the window then counts too.
        """
        return self.reset_after if limited and self.retry_after is None else self.retry_after

    def json(self) -> Any:
        """Returns the body as JSON, None for an empty one; raises ValueError where it is not JSON."""
        if not self.body:
            return None
        media_type = self.media_type
        if media_type and not (media_type == JSON or media_type.endswith(("+json", "/json"))):
            raise ValueError("not a JSON media type")
        return orjson.loads(self.body)

    def saying(self, value: Any) -> Answer:
        """Returns the answer with a JSON value for its body; raises TypeError where JSON cannot carry the value."""
        return replace(self, content_type=JSON, body=orjson.dumps(value))

    def of_json(self) -> Answer:
        """Returns the answer as what it is, JSON, whatever its media type says."""
        return replace(self, content_type=JSON)

    def with_body(self, body: bytes) -> Answer:
        """Returns the answer with other bytes."""
        return self if body is self.body else replace(self, body=body)

    def without_output(self) -> Answer:
        """Returns the answer with nothing in it."""
        return replace(self, content_type="", body=b"", ignored=True)


def read_answer(status: int, headers: MultiMapping[str], body: bytes, dialect: Dialect, now: datetime) -> Answer:
    """Returns the answer that these parts make; `headers` finds names in any case."""
    quota = dialect.quota(headers, now)
    return Answer(
        status=status,
        content_type=headers.get("Content-Type", ""),
        body=body,
        quota=quota,
        retry_after=dialect.retry_after(headers, now),
        reset_after=max(0.0, (quota.reset - now).total_seconds()) if quota.reset else None,
        link=", ".join(headers.getall("Link", ())),
        location=headers.get("Location", ""),
        headers=headers,
    )
