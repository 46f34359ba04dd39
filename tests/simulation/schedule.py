"""What happens in a simulated world: who is asked what, and what breaks when. All follows from a seed."""

import random
from dataclasses import dataclass, field, replace

from ringroad.actors.messages import Mode, Policy, Sampling, Submit
from tests.simulation.models import VOCABULARY

SAMPLINGS = [
    Sampling(1, 0.0),
    Sampling(2, 0.8),
    Sampling(2**64 - 1, 1.2),
    Sampling(4, 1.0, top_k=5),
    Sampling(5, 0.9, top_p=0.8, min_p=0.02),
]
POLICIES = [
    Policy("margin", 0.6),
    Policy("entropy", 0.5),
    Policy("random", 0.4),
    Policy("max-prob", 2.0),
    Policy("margin", 0.0),
    Policy("margin", share=0.5),
    Policy("step", 0.4),
    Policy("cascade", 0.6),
]
ENDS = [(), (), (38,), (10, 52, 63, 2)]
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
    cancelled: Seconds | None = None  # after it was asked

    def submit(self) -> Submit:
        """As a gateway sends it."""
        routed = self.mode is Mode.ROUTED
        policy = POLICIES[self.policy] if routed and self.policy is not None else None
        prompt, sampling, breaks = PROMPTS[self.prompt], SAMPLINGS[self.sampling], BREAKS if routed else []
        return Submit(
            self.name,
            list(prompt),
            self.max_tokens,
            self.mode,
            sampling,
            list(self.ends),
            self.draft_tokens,
            policy,
            breaks=list(breaks),
        )


@dataclass(frozen=True)
class Fault:
    """Something that breaks, and is whole again after some seconds."""

    at: Seconds
    kind: str
    target: str  # a process, or two with a blank between: the way between them
    seconds: Seconds


CRASH, STALL, SLOW, CUT, APART = "crash", "stall", "slow", "cut", "apart"


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
    noticed: bool = True  # whoever is left is told by the connection, and not by silence alone
    strategies: bool = False  # drafters guess without their model, too
    second_choices: bool = False
    chunk: int = 256  # tokens of a prompt that are read in a step
    blocks: int = 64  # of a cache
    ahead: str = "auto"
    asks: tuple[Ask, ...] = field(default=())
    faults: tuple[Fault, ...] = field(default=())

    def without_faults(self) -> "Schedule":
        """The same, where nothing breaks and nobody leaves."""
        asks = tuple(replace(ask, cancelled=None) for ask in self.asks)
        return replace(self, harsh=False, faults=(), asks=asks)

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
        noticed=draw.random() < 0.7,
        strategies=draw.random() < 0.3,
        second_choices=draw.random() < 0.5,
        chunk=draw.choice([16, 48, 256]),
        blocks=draw.choice([6, 64, 64]),
        ahead=draw.choice(["auto", "serial", "ahead", "enumerate"]),
    )
    asks = tuple(_ask(draw, i, plain) for i in range(draw.choice([1, 2, 3])))
    faults = tuple(_fault(draw, plain) for _ in range(draw.choice([0, 1, 1, 2, 2, 3])))
    return replace(plain, asks=asks, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _ask(draw: random.Random, index: int, world: Schedule) -> Ask:
    modes = [Mode.SPECULATIVE] * 3 + [Mode.ROUTED] * 3 + [Mode.LARGE, Mode.SMALL]
    mode = draw.choice(modes if world.drafters else [Mode.SPECULATIVE, Mode.LARGE])
    leaves = draw.random() < (1.0 if world.harsh else 0.2)
    return Ask(
        f"a{index}",
        at=draw.uniform(0.0, 0.8),
        prompt=draw.randrange(len(PROMPTS)),
        sampling=draw.randrange(len(SAMPLINGS)),
        mode=mode,
        max_tokens=draw.choice(LENGTHS),
        ends=draw.choice(ENDS),
        draft_tokens=draw.choice([None, None, 0, 1, 3, 6]),
        policy=draw.randrange(len(POLICIES)),
        cancelled=(8.0 if world.harsh else draw.expovariate(2.0)) if leaves else None,
    )


def _fault(draw: random.Random, world: Schedule) -> Fault:
    target = draw.choice(world.processes)
    kinds = [CRASH, CRASH, STALL, CUT, APART] + ([SLOW] if target.startswith(("drafter", "verifier")) else [])
    kind = draw.choice(kinds)
    if kind in (CUT, APART):
        spokes = [name for name in world.processes if not name.startswith("router")]
        target = f"{draw.choice(spokes)} router{draw.randrange(world.routers)}"
    at = draw.uniform(0.0, 2.0)
    return Fault(at, kind, target, draw.choice([0.05, 0.4, 1.0, 2.5]) * draw.uniform(0.5, 1.5))
