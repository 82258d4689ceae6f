"""What answers of these services are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What a service answers when it is more than one value."""

    model_config = ConfigDict(extra="forbid", frozen=True)
