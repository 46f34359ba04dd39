"""Whose requests these are."""

from pydantic import BaseModel, ConfigDict


class Tenant(BaseModel):
    """Who pays for a request, and what that one may use. Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""  # empty: nobody is asked who they are


ANYBODY = Tenant()
