"""What an operator may set about a verifier."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RingConfig(BaseModel):
    """Ranks that share long texts, each with all weights, on a device of its own; they talk over NCCL between
    GPUs, over gloo between CPUs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranks: int = Field(default=1, ge=1, le=64)
    # Texts that may come to so many tokens, the answer included, go round the ring; others stay on one rank.
    min_tokens: int = Field(default=8192, ge=1)
    # What moves round: keys and values, or queries and what they saw; "auto": what the cost model takes for
    # fastest (docs/scale.md), by these figures of one rank. bench/ring.py measures them.
    schedule: Literal["auto", "pass_kv", "pass_q", "token_ring"] = "auto"
    link_gigabytes: float = Field(default=2.0, gt=0)  # sent in a second
    link_microseconds: float = Field(default=500.0, ge=0)  # of a message of no bytes
    gigaflops: float = Field(default=12.0, gt=0)  # of attention
    memory_gigabytes: float = Field(default=2.5, gt=0)  # of keys and values read in a second
    # The processor's cores of each rank; empty: all of them for every rank.
    cores: list[list[int]] = []
    # How long a rank waits for another until it takes it for lost; then all of them begin anew. So it has to
    # be longer than any step, in which one rank may read `step_tokens` of its own while the others wait.
    timeout_seconds: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.cores and len(self.cores) != self.ranks:
            raise ValueError(f"cores: of {len(self.cores)} ranks, not {self.ranks}")
        if self.cores and (self.ranks == 1 or not all(self.cores)):
            raise ValueError("cores: of each of several ranks; those of one alone are the verifier's")
        return self


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
    # A ring of such verifiers, for texts that are long.
    ring: RingConfig = RingConfig()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.cores and self.ring.ranks > 1:
            raise ValueError("cores: each rank has its own, in ring.cores")
        return self
