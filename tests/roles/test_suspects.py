"""Sessions that a verifier dies of: they end, and nobody else does."""

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.messages import Chunk, Consult, Finish, Hello, Message, Mode, Sampling, Submit, Verdict
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

GATE = b"gate"
TOKENS = 4


def said(length: int) -> int:
    return length * 7 % 11


@dataclass
class World:
    """A router and verifiers, each of which takes some of its consults at a time and dies of certain ones."""

    poisonous: dict[str, int]  # sessions, and at which length of their texts a pass with them fails
    places: int
    random: random.Random
    most_losses: int = 3
    texts: dict[str, list[int]] = field(default_factory=dict)
    ends: dict[str, Chunk] = field(default_factory=dict)
    asked: dict[bytes, list[Consult]] = field(default_factory=dict)
    deaths: int = 0

    def __post_init__(self) -> None:
        self.router = Router(RouterConfig(until=None, most_losses=self.most_losses), self.take)
        for place in range(self.places):
            self.greet(place)

    def greet(self, place: int) -> None:
        address = b"judge %d, life %d" % (place, self.deaths)
        self.asked[address] = []
        self.router.receive(address, Hello("verifier"), 0.0)

    def take(self, to: bytes, message: Message) -> None:
        match message:
            case Chunk(session=name, finish=None):
                self.texts.setdefault(name, []).extend(message.tokens)
            case Chunk(session=name):
                assert name not in self.ends
                self.ends[name] = message
            case Consult():
                self.asked[to].append(message)
            case _:
                pass

    def step(self) -> None:
        """Some verifier's next pass, over some of what it was asked."""
        address = self.random.choice([each for each, asked in self.asked.items() if asked])
        asked = self.asked[address]
        batch = self.random.sample(asked, self.random.randint(1, len(asked)))
        lengths = {each.session: each.base + len(each.tokens) for each in batch}
        if any(length >= self.poisonous.get(name, 10**9) for name, length in lengths.items()):
            del self.asked[address]
            self.deaths += 1
            self.router.lose(address)
            self.greet(int(address.split()[1][:-1]))
            return
        for each in batch:
            asked.remove(each)
            length = lengths[each.session]
            self.router.receive(address, Verdict(each.session, each.epoch, length, [], said(length)), 0.0)

    def run(self, names: list[str]) -> None:
        for name in names:
            self.router.receive(GATE, Submit(name, [1, 2, 3], TOKENS, Mode.LARGE, Sampling()), 0.0)
        for _ in range(1000):
            if len(self.ends) == len(names):
                return
            self.step()
        raise AssertionError("no end")


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 3 + TOKENS - 1), max_size=3),
    st.integers(1, 2),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
def test_only_who_kills_verifiers_ends_by_it(
    poisonous: dict[str, int], places: int, most: int, chance: random.Random
) -> None:
    """Whatever was in the same passes, on one verifier or two."""
    world = World(poisonous, places, chance, most)
    world.run([*"abcdef"])
    for name, end in world.ends.items():
        length = poisonous.get(name, 3 + TOKENS)
        assert world.texts.get(name, []) == [said(each) for each in range(3, length)]
        assert end.finish is (Finish.ERROR if name in poisonous else Finish.LENGTH), name
        assert ("verifiers were lost" in end.error) == (name in poisonous)
    assert world.deaths <= most * len(poisonous)
    assert len(world.router) == 0


def test_one_death_holds_nobody_up() -> None:
    """After a single loss all go on together."""
    world = World({}, 1, random.Random(0))
    names = [*"abc"]
    for name in names:
        world.router.receive(GATE, Submit(name, [1, 2, 3], TOKENS, Mode.LARGE, Sampling()), 0.0)
    (address,) = world.asked
    del world.asked[address]
    world.deaths += 1
    world.router.lose(address)
    world.greet(0)
    (asked,) = world.asked.values()
    assert sorted(each.session for each in asked) == names
