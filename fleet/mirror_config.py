"""The mirror: a second place with the same objects, in another region."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fleet.policy import Retention
from fleet.repository_config import StoreConfig
from fleet.section import Positive


class MirrorConfig(StoreConfig):
    """Where the repository is mirrored, and how fast."""

    rate_bytes_per_second: Positive | None = Field(
        default=None, description="Most bytes a second that are copied there; default: no limit."
    )
    poll_seconds: Annotated[float, Field(strict=True, ge=0.1, le=3600, allow_inf_nan=False)] = Field(
        default=5.0, description="How often the repository is asked for what is new."
    )
    retention: Retention | None = Field(
        default=None, description="What is kept there, and for how long; default: as in the repository."
    )
