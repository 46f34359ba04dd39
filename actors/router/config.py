"""What an operator may set about the router."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ringroad.actors.messages import Policy
from ringroad.actors.router.policies import RULES


class PolicyConfig(BaseModel):
    """A rule of policies.py, and its threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "margin"
    threshold: float = RULES["margin"].default

    def policy(self) -> Policy:
        """As messages carry it."""
        return Policy(self.name, self.threshold)

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        rule = RULES.get(self.name)
        if rule is None:
            raise ValueError(f"policy {self.name}: known are {', '.join(RULES)}")
        if not rule.lowest <= self.threshold <= rule.highest:
            raise ValueError(f"policy {self.name}: threshold {self.threshold} is out of range")
        return self


class RouterConfig(BaseModel):
    """The router's defaults; a request may override draft_tokens and policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Guesses a round, beside which second choices may stand: for speculation at most so many, and exactly so
    # many where `adapt` is off.
    draft_tokens: int = Field(default=8, ge=0, le=16)
    # Whether speculation guesses as much as pays, by what guesses and forward passes are measured to
    # bring and to cost, down to not at all (docs/decisions/0006).
    adapt: bool = True
    # What a drafter does while its guesses are judged: nothing ("serial"), prepare for the likeliest
    # outcome ("ahead"), for the `outcomes` likeliest ("enumerate"), or whichever is measured to be
    # fastest ("auto"; nothing where both roles share their cores; docs/decisions/0011).
    ahead: Literal["auto", "serial", "ahead", "enumerate"] = "auto"
    outcomes: int = Field(default=4, ge=2, le=16)
    policy: PolicyConfig = PolicyConfig()
    # Where drafting for speculation stops before its budget: after a guess this rule doubts, since
    # what follows a wrong guess is wasted (docs/decisions/0005).
    until: PolicyConfig | None = PolicyConfig(threshold=0.5)
    # How often silent peers are looked for, and gateways told who is there.
    heartbeat_seconds: float = Field(default=0.5, gt=0, le=1.0)
    # A peer not heard from for so long is taken for dead.
    lost_after_seconds: float = Field(default=3.0, gt=1.0)  # two heartbeats of channel.py

    @property
    def ways(self) -> tuple[int, ...]:
        """How many outcomes drafters may be asked to prepare for, fewest first."""
        chosen = {"serial": (0,), "ahead": (1,), "enumerate": (self.outcomes,)}
        return chosen.get(self.ahead, (0, 1, self.outcomes))
