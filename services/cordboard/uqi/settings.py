"""What UQI is told by its environment."""

from __future__ import annotations

from pydantic import Field

from cordboard.core.settings import Address, Settings


class UqiSettings(Settings):
    """The settings of UQI."""

    catalog_address: Address = Field(description="HOST:PORT of the Catalog, whose definitions the forms are made of")
    form_cache_characters: int = Field(
        32_000_000, ge=0, le=2_000_000_000, description="how much text of forms to keep in memory"
    )
    form_ttl_seconds: int = Field(
        60, ge=0, le=86_400, description="for how many seconds a browser may keep a form without asking again"
    )
