"""What can happen to a session, and what it can want done about it."""

from dataclasses import dataclass

from ringroad.actors.messages import (
    Cancel,
    Failed,
    Finish,
    Forgotten,
    Logprob,
    Policy,
    Proposal,
    Speaker,
    Verdict,
)

# --- events besides the messages Proposal, Verdict, Forgotten, Failed and Cancel ---------------


@dataclass(frozen=True)
class Begin:
    """The first event: what is committed already, and who spoke it."""

    committed: tuple[int, ...] = ()
    speakers: tuple[Speaker, ...] = ()


@dataclass(frozen=True)
class Allowed:
    """So many guesses a proposal from now on."""

    budget: int


@dataclass(frozen=True)
class Gained:
    """A role can be asked again."""

    role: str


@dataclass(frozen=True)
class Lost:
    """A role is gone, with all it held."""

    role: str
    another: bool = False  # there is one to go on with
    idle: bool = False  # what the session would have asked it was not sent


@dataclass(frozen=True)
class From:
    """A message in which the sender does not say its role."""

    role: str
    message: Forgotten | Failed


Event = Begin | Allowed | Proposal | Verdict | Cancel | Gained | Lost | From


# --- actions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenPeer:
    """Begin the session at a role."""

    role: str
    epoch: int


@dataclass(frozen=True)
class AskDraft:
    """Send the drafter what it lacks from token `base` on, and have it guess."""

    epoch: int
    base: int
    budget: int
    until: Policy | None


@dataclass(frozen=True)
class AskVerdict:
    """Send the verifier what it lacks from token `base` on, and have it judge."""

    epoch: int
    base: int
    guesses: tuple[int, ...]
    parents: tuple[int, ...]
    trusted: tuple[int, ...] = ()  # of the guesses those that stay in any case


@dataclass(frozen=True)
class Commit:
    """These tokens can never change again."""

    tokens: tuple[int, ...]
    speakers: tuple[Speaker, ...]
    logprobs: tuple[Logprob, ...] = ()  # of each, where they are asked for and known


@dataclass(frozen=True)
class End:
    """The session is over: tell the gateway, free it everywhere."""

    finish: Finish
    error: str = ""


Action = OpenPeer | AskDraft | AskVerdict | Commit | End
