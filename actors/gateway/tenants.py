"""Whose requests these are."""

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

LOWEST, HIGHEST = -4, 4  # priorities


class Tenant(BaseModel):
    """Who pays for a request, and what that one may use. Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Empty: nobody is asked who they are.
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    weight: PositiveFloat = 1.0  # its share where tenants compete, beside the others' weights
    priority: int = Field(
        default=0, ge=LOWEST, le=HIGHEST
    )  # each step counts four times; its requests may ask for less
    tokens_per_minute: PositiveInt | None = None  # of prompts and answers together; None: as many as it likes
    max_streams: PositiveInt | None = None  # that are read at once; None: as many as there are


ANYBODY = Tenant()
