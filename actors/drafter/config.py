"""What an operator may set about a drafter."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.engine import views
from ringroad.actors.engine.views import ALL

MODEL, CHAIN = "model", "chain"


class DrafterConfig(BaseModel):
    """A drafter; without a model it guesses from texts alone, and modes small and routed are off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""  # catalogue name, path or hub id
    # Of the model's layers the first so many, with its head: the rest takes no memory. None: all. With
    # the large model's own name it drafts for itself. The modes small and routed speak so, too.
    layers: int | None = Field(default=None, ge=1)
    # How many times the tokens of its own context the model reads, by YaRN; None: as it says itself. Short
    # texts may be read a little worse then (docs/decisions/0018).
    yarn_factor: float | None = Field(default=None, gt=1)
    # What of a long text the model looks at for guesses that will be judged: "all", or a file of
    # engine/views/, and about how many tokens. What nobody judges is of the whole text. Prompts are read
    # whole, too, and kept for others, unless they are to be read in part.
    sees: str = ALL
    sees_tokens: int = Field(default=512, ge=256)
    prompt_in_part: bool = False
    weights: Literal["bf16", "fp32", "int4"] = "bf16"
    # "cpu", or a torch device such as "cuda"; int4 weights are for the CPU.
    device: str = "cpu"
    # The processor's cores this drafter may use; empty: all of them.
    cores: list[int] = []
    replicas: int = Field(default=1, ge=1)
    prefill_chunk: int = Field(default=256, ge=16)  # prompt tokens of a session per step
    # Tokens of a step: those of sessions that decode, always, and as many of prompts as are left.
    step_tokens: int = Field(default=256, ge=16)
    # The most that keys and values take, those kept for texts that begin alike included; in 10^9 bytes.
    cache_gigabytes: float = Field(default=2.0, gt=0)
    # Who guesses: "model" and files of strategies/. None: suffix lookup, and the model where there is one.
    # A model that is not among them serves the modes small and routed alone.
    strategies: list[str] | None = None
    # How the model's guesses grow: "chain", or a file of shapes/.
    tree: str = CHAIN
    passes: int = Field(default=6, ge=1)  # of the model for a tree
    # Where strategies without a model expect so many guesses to be accepted, the model is not asked.
    enough: float = Field(default=2.0, ge=0)
    # Guesses accepted with less than this probability are not worth their row in the verifier's step.
    floor: float = Field(default=0.1, ge=0, le=1)
    # The model's guesses that will be judged are among the first so many ids, which a BPE vocabulary has in
    # the order of its merges; 0: any. Ends of a text often lie above: then they are never guessed.
    vocabulary: int = Field(default=0, ge=0)
    # Whether the second choice stands beside each guess of a chain: it takes no pass of the model.
    second_choices: bool = True
    # Whether the strategies' guesses spare the model passes: two levels of speculation.
    two_levels: bool = True

    @property
    def model_free(self) -> list[str]:
        """The strategies that need no model."""
        return ["suffix"] if self.strategies is None else [name for name in self.strategies if name != MODEL]

    @property
    def model_guesses(self) -> bool:
        """Whether the model guesses what will be judged."""
        return bool(self.model) and (self.strategies is None or MODEL in self.strategies)

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        known = [MODEL, *strategies.names()]
        for name in self.strategies or []:
            if name not in known:
                raise ValueError(f"strategy {name}: known are {', '.join(known)}")
        if MODEL in (self.strategies or []) and not self.model:
            raise ValueError("strategy model: there is no model")
        if self.layers is not None and not self.model:
            raise ValueError("layers: there is no model")
        if self.yarn_factor is not None and not self.model:
            raise ValueError("yarn_factor: there is no model")
        if self.sees not in (ALL, *views.names()):
            raise ValueError(f"sees {self.sees}: known are {', '.join((ALL, *views.names()))}")
        if self.sees != ALL and not self.model:
            raise ValueError("sees: there is no model")
        for name in {"sees_tokens", "prompt_in_part"} & self.model_fields_set:
            if self.sees == ALL:
                raise ValueError(f"{name}: sees is all")
        if self.vocabulary == 1:
            raise ValueError("vocabulary 1: a guess of one id is none; 0 is all ids")
        if self.tree not in (CHAIN, *shapes.names()):
            raise ValueError(f"tree {self.tree}: known are {', '.join((CHAIN, *shapes.names()))}")
        return self
