"""What an operator may set about the router."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ringroad.actors.messages import Policy
from ringroad.actors.router.policies import FALLBACK, RULES, Scope


class PolicyConfig(BaseModel):
    """A rule of policies.py, with a threshold (None: its own) or a share of large tokens to be held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = FALLBACK
    threshold: float | None = Field(default=None, ge=0, le=2)
    share: float | None = Field(default=None, ge=0, le=1)

    def policy(self) -> Policy:
        """As messages carry it."""
        threshold = RULES[self.name].default if self.threshold is None else self.threshold
        return Policy(self.name, threshold, self.share)

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        rule = RULES.get(self.name)
        if rule is None:
            raise ValueError(f"policy {self.name}: known are {', '.join(RULES)}")
        if self.share is not None and self.threshold is not None:
            raise ValueError("threshold and share: only one can be held")
        if self.share is not None and rule.scope is Scope.REQUEST:
            raise ValueError(f"policy {self.name}: decides once a text, so no share can be held")
        return self


class RouterConfig(BaseModel):
    """The router's defaults; a request may override draft_tokens and policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Roles speak with all of them, and a gateway with one (docs/decisions/0021).
    replicas: int = Field(default=1, ge=1)
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
    # A dead process is noticed by its connection, at once. One that is stopped or cut off is noticed by its
    # silence: everybody greets so often, ...
    heartbeat_seconds: float = Field(default=0.2, gt=0)
    # ... and who was not heard from for so long is taken for dead, until it comes back.
    lost_after_seconds: float = Field(default=1.0, gt=0)
    # A request ends with an error where so many verifiers were lost one after another while they worked on
    # it, since it may be what they die of; before the last one it is judged alone (docs/decisions/0020).
    most_losses: int = Field(default=3, ge=1)

    @property
    def ways(self) -> tuple[int, ...]:
        """How many outcomes drafters may be asked to prepare for, fewest first."""
        chosen = {"serial": (0,), "ahead": (1,), "enumerate": (self.outcomes,)}
        return chosen.get(self.ahead, (0, 1, self.outcomes))

    @model_validator(mode="after")
    def _is_patient(self) -> Self:
        if self.lost_after_seconds < 3 * self.heartbeat_seconds:
            raise ValueError("lost_after_seconds: at least three times heartbeat_seconds")
        return self

    @field_validator("until")
    @classmethod
    def _stops_at_a_token(cls, until: PolicyConfig | None) -> PolicyConfig | None:
        if until and (until.share is not None or RULES[until.name].scope is not Scope.TOKEN):
            raise ValueError("takes a rule that decides token by token, with a threshold")
        return until
