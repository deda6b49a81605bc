"""What the store costs, as its operator knows it. No price is built in: they differ and they change."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fleet.section import Section

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(Section):
    """The store's price table, for `backstay plan`."""

    per_gb_month: Price = Field(description="Price of keeping 1,000,000,000 bytes for a month.")
    per_1000_requests: Price = Field(default=0.0, description="Price of 1,000 requests that write or read.")
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="Currency of both, as ISO 4217.")
