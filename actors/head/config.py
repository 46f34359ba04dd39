"""What an operator may set about the learned token router."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AUTO = "auto"


class HeadConfig(BaseModel):
    """The head of this pair of models. Without one the policy "learned" is not offered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # A file, which must be this pair's; "auto": of those that are shipped the one for this pair, if there
    # is such; empty: none.
    path: str = AUTO
    # "drafter": computed with the small model's step; "own": in a process apart, which the drafter does
    # not wait for (docs/decisions/0015).
    placement: Literal["drafter", "own"] = "drafter"
    # What follows is for a process apart. A torch device and the share of a GPU it takes:
    device: str = "cpu"
    gpus: float = Field(default=0.0, ge=0)
    cores: list[int] = []  # the processor's cores it may use; empty: all of them
    replicas: int = Field(default=1, ge=1)
