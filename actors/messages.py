"""What the roles say to each other: small facts, never logits, never an object with behaviour.

Every message about a session carries its epoch, and every one about its text says how many tokens
were committed when it was sent; what no longer fits is dropped by whoever receives it. Positions
count from the first token of the prompt. Encoded as MessagePack by `channel/`.
"""

from enum import StrEnum

import msgspec

from ringroad.actors.figures import Pass as Pass
from ringroad.actors.figures import RoleFigures, RouterFigures
from ringroad.actors.params import Logprob as Logprob
from ringroad.actors.params import Sampling as Sampling
from ringroad.actors.params import Shaping as Shaping


class Mode(StrEnum):
    """How a session is generated."""

    LARGE = "large"
    SMALL = "small"
    SPECULATIVE = "speculative"
    ROUTED = "routed"


class Speaker(StrEnum):
    """Who spoke a token."""

    SMALL_KEPT = "small_kept"
    SMALL_ACCEPTED = "small_accepted"
    LARGE = "large"


class Finish(StrEnum):
    """Why a text ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Anything that crosses between roles."""


class Policy(msgspec.Struct, frozen=True, array_like=True):
    """A token router: a rule of `router/policies.py` by name, and how much doubt it takes to consult.

    Either a threshold, or a share of large tokens to be held: then the threshold follows from what was
    spoken so far, by a pure function of the text's beginning.
    """

    name: str
    threshold: float = 0.0  # consults where the doubt is at least this: 0 always, above 1 never
    share: float | None = None  # of tokens that the large model is to speak; in place of the threshold
    # Quantiles of the rule's doubt, evenly spaced from the lowest to the highest; empty: taken as uniform.
    quantiles: list[float] = []
    spoken: int = 0  # tokens of the text so far, by either model
    large: int = 0  # of these, by the large model


class Features(msgspec.Struct, frozen=True, array_like=True):
    """What a drafter saw when it guessed each token of a proposal, from its softmax before temperature."""

    margin: list[float]  # probability of the likeliest token less that of the second
    entropy: list[float]  # nats
    top: list[float] = []  # probability of the likeliest token
    coin: list[float] = []  # in [0, 1), a function of seed and position alone
    doubt: list[float] = []  # what the learned head says, in [0, 1]; empty where none was asked


# --- gateway -> router ------------------------------------------------------------------------


class Submit(Message, frozen=True):
    """Generate a text. Everything in it is valid: the gateway has looked."""

    session: str
    prompt: list[int]  # at least one token
    max_tokens: int  # at least 1; prompt + max_tokens fits the context
    mode: Mode
    sampling: Sampling
    ends: list[int] = []  # tokens that end the text; none where the client ignores them
    draft_tokens: int | None = None  # None: the router's own budget
    policy: Policy | None = None  # None: the router's own; only in routed mode
    breaks: list[int] = []  # tokens that end a step, where the policy decides step by step
    committed: list[int] = []  # of the text, where another router began it: it goes on from there
    speakers: list[Speaker] = []  # of what is committed
    at: dict[str, int] = {}  # by role, the replicas that had it there: they hold what they computed
    salt: bytes = b""  # only texts of the same salt share what was computed or learned of them
    trace: str = ""  # where its spans belong, as W3C's traceparent; empty: nobody traces it


class Cancel(Message, frozen=True):
    """Nobody reads this text any more. Answered by a last chunk, unless it has ended already."""

    session: str
    reason: Finish = Finish.CANCELLED  # STOP when the gateway saw a stop string


# --- router -> gateway ------------------------------------------------------------------------


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What a session took so far."""

    drafted: int = 0
    accepted: int = 0
    consults: int = 0
    kept: int = 0
    large: int = 0
    degraded: list[str] = []  # roles that were lost on the way
    fallbacks: int = 0  # guesses of which the policy's own feature was missing


class Chunk(Message, frozen=True):
    """Committed tokens; the one with a `finish` is the last of its session."""

    session: str
    offset: int  # generated tokens before these
    tokens: list[int]
    speakers: list[Speaker]
    finish: Finish | None = None
    counts: Counts | None = None  # of the session so far, this included
    error: str = ""
    logprobs: list[Logprob] = []  # of each token, where the request asks and they are known
    at: dict[str, int] = {}  # by role, the replicas that have the session


class Roster(Message, frozen=True):
    """The peers the router knows, whenever that changes and every heartbeat: what requests can be served."""

    peers: list["Hello"]
    leaving: bool = False  # this router is to stop: another should be asked, if there is one
    figures: RouterFigures | None = None


# --- router -> drafter, verifier --------------------------------------------------------------


class Open(Message, frozen=True):
    """A session begins, or begins again (`epoch`): whatever was held under its name is void."""

    session: str
    epoch: int
    sampling: Sampling
    expected: int = 0  # tokens that its text may come to, the prompt included
    salt: bytes = b""  # of the `Submit`
    trace: str = ""  # as a Submit's


class Draft(Message, frozen=True):
    """Your text is now its first `base` tokens, then `tokens`; guess what follows."""

    session: str
    epoch: int
    base: int
    tokens: list[int]
    budget: int  # at most this many guesses
    # A guess this rule would consult on is the last one, if the large model is likely to say another.
    until: Policy | None = None
    # Every guess will be judged, so any will do. Else some may stay as they are: only the small
    # model's own tokens, one after another.
    judged: bool = False
    successors: list[list[int]] = []  # of the last verdict
    # Of the verdict on these guesses so many likely outcomes are worth preparing for, in idle time.
    outcomes: int = 0
    stops: list[int] = []  # a guess that is one of these is the last one
    # A head of its own judges the guesses: tell after every pass what was `Seen`, and stop at no doubt.
    sights: bool = False


class Consult(Message, frozen=True):
    """Your text is now its first `base` tokens, then `tokens`; judge the guesses that follow it."""

    session: str
    epoch: int
    base: int
    tokens: list[int]
    guesses: list[int] = []
    parents: list[int] = []  # of each guess: an earlier one, or -1; empty means a chain
    successors: bool = False  # whether the drafter has use for them
    trusted: list[int] = []  # of the guesses those that stay whatever the large model says


class Close(Message, frozen=True):
    """A session is over: free everything it holds."""

    session: str


class Welcome(Message, frozen=True):
    """The answer to every hello; under another name than before, nothing held so far counts."""

    router: str  # a name made anew whenever a router meets a peer
    leaving: bool = False  # understood: after this nothing begins there that can begin elsewhere


# --- drafter, verifier, head -> router ----------------------------------------------------------


class Proposal(Message, frozen=True):
    """Guesses that follow the first `length` tokens of a text. Empty: nothing worth guessing."""

    session: str
    epoch: int
    length: int
    tokens: list[int]
    parents: list[int]  # of each guess: an earlier one, or -1; empty means a chain
    features: Features | None = None  # where a model guessed
    seconds: float = 0.0  # of the drafter's time
    took: Pass | None = None  # None where no model guessed, or it had guessed beforehand
    # Of each guess the estimated probability that it is accepted, its ancestors included; empty: unknown.
    scores: list[float] = []
    logprobs: list[Logprob] = []  # of each guess, where the request asks and it may stay unjudged
    held: int = 0  # the first so many stand behind the text that the drafter holds


class Seen(Message, frozen=True):
    """More guesses of a proposal in the making, and what the head judges them by; the router hands it on."""

    session: str
    epoch: int  # the drafter's
    length: int  # of the text that the proposal follows
    first: int  # guesses of it that were told before
    tokens: list[int]
    features: Features
    sight: bytes  # `kernels/head.py` packs and unpacks it


class Verdict(Message, frozen=True):
    """What the large model says after the first `length` tokens of a text."""

    session: str
    epoch: int
    length: int
    path: list[int]  # the guesses that stay, from the first on: indices into the consult's guesses
    token: int  # what it says next: recovered, bonus or its only one
    seconds: float = 0.0  # of the verifier's time
    took: Pass | None = None
    # Where the consult asked: for the text's last token and each guess a row of it and, likeliest
    # first, what the large model saw following it.
    successors: list[list[int]] = []
    logprobs: list[Logprob] = []  # of each token of the path and the one after it, where the request asks


class Ruling(Message, frozen=True):
    """What the learned head says of guesses it was told of."""

    session: str
    epoch: int
    length: int
    first: int
    doubts: list[float]  # of each; none where it could not say


class Forgotten(Message, frozen=True):
    """A session nobody opened here, or not this far: open it again and send all of its text."""

    session: str
    epoch: int


class Failed(Message, frozen=True):
    """A session this role cannot go on with, and why."""

    session: str
    epoch: int
    error: str


class Hello(Message, frozen=True):
    """I am here: sent on arrival and as a heartbeat."""

    role: str  # "drafter", "verifier", "head" or "gateway"
    model: str = ""  # empty: a drafter without one; of a head its file
    vocabulary: int = 0
    context: int = 0  # tokens
    sessions: int = 0
    cached_tokens: int = 0  # that sessions hold, before any sharing
    memory_bytes: int = 0
    idle_tokens: int = 0  # kept in the cache for a text with the same beginning
    found_share: float = 0.0  # of all tokens of prompts, those found in the cache
    successors: bool = False  # a drafter that learns from verdicts
    place: list[str] = []  # the cores or devices it computes on
    rulings: int = 0  # of a head: tokens judged so far
    longest: int = 0  # tokens of a prompt and its answer that its cache has room for; 0: as many as you like
    leaving: bool = False  # it is to stop, and does so when it holds no session any more
    replica: int = 0  # which of its role's processes
    figures: RoleFigures | None = None


ToRouter = Submit | Cancel | Proposal | Seen | Verdict | Ruling | Forgotten | Failed | Hello
ToGateway = Chunk | Roster
ToDrafter = Open | Draft | Close | Welcome
ToVerifier = Open | Consult | Close | Welcome
ToHead = Seen | Close | Welcome
