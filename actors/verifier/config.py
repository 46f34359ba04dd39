"""What an operator may set about a verifier."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class VerifierConfig(BaseModel):
    """A verifier: where the large model runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str  # catalogue name, path or hub id
    # How many times the tokens of its own context the model reads, by YaRN; None: as it says itself. Short
    # texts may be read a little worse then (docs/decisions/0018).
    yarn_factor: float | None = Field(default=None, gt=1)
    weights: Literal["bf16", "fp32", "int4"] = "bf16"
    # "cpu", or a torch device such as "cuda"; int4 weights are for the CPU.
    device: str = "cpu"
    # The processor's cores this verifier may use; empty: all of them.
    cores: list[int] = []
    replicas: int = Field(default=1, ge=1)
    prefill_chunk: int = Field(default=256, ge=16)  # prompt tokens of a session per step
    # Tokens of a step: those of sessions that decode, always, and as many of prompts as are left.
    step_tokens: int = Field(default=256, ge=16)
    # The most that keys and values take, those kept for texts that begin alike included; in 10^9 bytes.
    cache_gigabytes: float = Field(default=2.0, gt=0)
