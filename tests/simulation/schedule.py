"""What happens in a simulated world: who is asked what, and what breaks when. All follows from a seed."""

import random
from dataclasses import dataclass, field, replace

from ringroad.actors.gateway.answers import mode_number
from ringroad.actors.messages import Mode, Policy, Sampling
from ringroad.actors.router.policies import RULES
from ringroad.v1.inference_pb2 import GenerateRequest, Resume, TokenIds
from tests.simulation.models import VOCABULARY

SAMPLINGS = [  # all exact in the fp32 of a request
    Sampling(1, 0.0),
    Sampling(2, 0.75),
    Sampling(2**64 - 1, 1.25),
    Sampling(4, 1.0, top_k=5),
    Sampling(5, 0.875, top_p=0.8125, min_p=0.015625),
]
POLICIES = [
    Policy("margin", 0.625),
    Policy("entropy", 0.5),
    Policy("random", 0.375),
    Policy("max-prob", 2.0),
    Policy("margin", 0.0),
    Policy("margin", share=0.5),
    Policy("step", 0.375),
    Policy("cascade", 0.625),
]
TOKEN_ENDS = (10, 38, 52)
THRESHOLDS = {name: rule.default for name, rule in RULES.items() if name != "learned"}
STOPS = [(), (), (), ("7",), ("cc", "2b")]
LENGTHS = [1, 2, 5, 9, 14]
BREAKS = [3, 17, 29, 38, 52, 63]


def _prompts() -> list[list[int]]:
    """Short ones, and some about as long as the cache's blocks, which begin alike."""
    draw = random.Random("prompts")

    def tokens(count: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(count)]

    begin = tokens(64)
    return [tokens(1), tokens(5), tokens(12), begin[:60], begin, begin + tokens(9), begin + tokens(70)]


PROMPTS = _prompts()
Seconds = float


@dataclass(frozen=True)
class Ask:
    """A client's request, and what the client does about it."""

    name: str
    at: Seconds
    prompt: int  # of PROMPTS
    sampling: int  # of SAMPLINGS
    mode: Mode
    max_tokens: int
    ends: tuple[int, ...] = ()
    draft_tokens: int | None = None
    policy: int | None = None  # of POLICIES
    stops: tuple[str, ...] = ()
    resumable: bool = True
    leaves: tuple[Seconds, ...] = ()  # of its streams, after each was begun
    deadline: Seconds | None = None  # of each of its streams
    cancelled: Seconds | None = None  # after it was asked

    def request(self) -> GenerateRequest:
        """As a client sends it."""
        sampling = SAMPLINGS[self.sampling]
        request = GenerateRequest(
            token_ids=TokenIds(ids=PROMPTS[self.prompt]),
            sampling={
                "seed": sampling.seed,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
            },
            max_tokens=self.max_tokens,
            stop=self.stops,
            ignore_eos=not self.ends,
            mode=mode_number(self.mode),
            request_id=self.name,
            resumable=self.resumable,
        )
        if self.draft_tokens is not None:
            request.speculation.draft_tokens = self.draft_tokens
        if self.policy is not None:
            policy = POLICIES[self.policy]
            request.routing.policy = policy.name
            if policy.share is not None:
                request.routing.large_share = policy.share
            else:
                request.routing.threshold = policy.threshold
        return request

    def resumed(self, offset: int) -> GenerateRequest:
        """As a client sends it that has read so many tokens."""
        return GenerateRequest(
            request_id=self.name, resume=Resume(next_offset=offset), resumable=self.resumable
        )


@dataclass(frozen=True)
class Fault:
    """Something that breaks, and is whole again after some seconds."""

    at: Seconds
    kind: str
    target: str  # a process, or two with a blank between: the way between them
    seconds: Seconds


CRASH, STALL, SLOW, CUT, APART, AWAY = "crash", "stall", "slow", "cut", "apart", "away"


@dataclass(frozen=True)
class Schedule:
    """A world's parts, what is asked of it, and what breaks."""

    seed: int
    drafters: int = 1
    verifiers: int = 1
    routers: int = 1
    gateways: int = 1
    shared: bool = False  # all roles take turns on the same cores
    wild: bool = False  # messages take very different times
    harsh: bool = False  # messages between router and roles are repeated, and overtake each other
    repeats: float = 0.1  # of the messages in a harsh one
    noticed: bool = True  # whoever is left is told by the connection, and not by silence alone
    strategies: bool = False  # drafters guess without their model, too
    second_choices: bool = False
    chunk: int = 256  # tokens of a prompt that are read in a step
    blocks: int = 64  # of a cache
    ahead: str = "auto"
    places: int = 8  # of each gateway
    asks: tuple[Ask, ...] = field(default=())
    faults: tuple[Fault, ...] = field(default=())

    @property
    def processes(self) -> list[str]:
        """By name."""
        counts = {
            "router": self.routers,
            "gateway": self.gateways,
            "drafter": self.drafters,
            "verifier": self.verifiers,
        }
        return [f"{role}{i}" for role, count in counts.items() for i in range(count)]


def drawn(seed: int) -> Schedule:
    """The schedule of a seed."""
    draw = random.Random(f"schedule {seed}")
    plain = Schedule(
        seed,
        drafters=draw.choice([0, 1, 1, 2]),
        verifiers=draw.choice([1, 1, 2]),
        shared=draw.random() < 0.3,
        wild=draw.random() < 0.4,
        harsh=draw.random() < 0.15,
        repeats=draw.choice([0.1, 0.6]),
        noticed=draw.random() < 0.7,
        strategies=draw.random() < 0.3,
        second_choices=draw.random() < 0.5,
        chunk=draw.choice([16, 48, 256]),
        blocks=draw.choice([6, 64, 64]),
        gateways=draw.choice([1, 2]),
        routers=draw.choice([1, 1, 2]),
        places=draw.choice([1, 2, 8]),
        ahead=draw.choice(["auto", "serial", "ahead", "enumerate"]),
    )
    breaks = draw.choice([0, 0, 0, 1, 2, 4] if plain.harsh else [0, 1, 2, 2, 3, 4])
    # What was moved there and back in a harsh world may wait for an answer that a late Close has stopped.
    gives_up = plain.harsh and breaks > 0
    asks = tuple(_ask(draw, i, plain, gives_up) for i in range(draw.choice([1, 2, 3])))
    faults = tuple(_fault(draw, plain, asks) for _ in range(breaks))
    return replace(plain, asks=asks, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _ask(draw: random.Random, index: int, world: Schedule, gives_up: bool) -> Ask:
    modes = [Mode.SPECULATIVE] * 3 + [Mode.ROUTED] * 3 + [Mode.LARGE, Mode.SMALL]
    mode = draw.choice(modes if world.drafters else [Mode.SPECULATIVE, Mode.LARGE])
    drafts = {Mode.SPECULATIVE: [None, None, 0, 1, 3, 6], Mode.ROUTED: [None, 1, 3, 6]}
    drafts |= {Mode.LARGE: [None], Mode.SMALL: [None]}
    leaves = draw.random() < (1.0 if gives_up else 0.2)
    return Ask(
        f"a{index}",
        at=draw.uniform(0.0, 0.8),
        prompt=draw.randrange(len(PROMPTS)),
        sampling=draw.randrange(len(SAMPLINGS)),
        mode=mode,
        max_tokens=draw.choice(LENGTHS),
        ends=draw.choice([(), TOKEN_ENDS]),
        draft_tokens=draw.choice(drafts[mode]),
        policy=draw.randrange(len(POLICIES)) if mode is Mode.ROUTED else None,
        stops=draw.choice(STOPS),
        resumable=draw.random() < 0.8,
        leaves=tuple(draw.expovariate(4.0) for _ in range(draw.choice([0, 0, 0, 1, 2]))),
        deadline=draw.uniform(0.2, 2.0) if draw.random() < 0.05 else None,
        cancelled=(8.0 if gives_up else draw.expovariate(3.0)) if leaves else None,
    )


def _fault(draw: random.Random, world: Schedule, asks: tuple[Ask, ...]) -> Fault:
    target = draw.choice([*world.processes, "ledger"])
    kinds = [CRASH, CRASH, STALL, CUT, APART] + ([SLOW] if target.startswith(("drafter", "verifier")) else [])
    kind = AWAY if target == "ledger" else draw.choice(kinds)
    if kind in (CUT, APART):
        spokes = [name for name in world.processes if not name.startswith("router")]
        target = f"{draw.choice(spokes)} router{draw.randrange(world.routers)}"
    at = draw.choice(asks).at + draw.expovariate(5.0)  # while something is generated, mostly
    return Fault(at, kind, target, draw.choice([0.05, 0.4, 1.0, 2.5]) * draw.uniform(0.5, 1.5))
