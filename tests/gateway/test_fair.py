"""Who is next in line: against a slow reference, and by what tenants may rely on."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.gateway.fair import ANSWER_COST, PROMPT_COST, SAVED, STEP, Flow, Line

FLOWS = [Flow("a"), Flow("a", 1.0, 1), Flow("a", 1.0, -1), Flow("b", 2.0), Flow("c", 0.5), Flow("c", 0.5, 1)]


class Slow:
    """The paper's algorithm over a list of all that waits and a list of all that ever counted."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Flow]] = []
        self.counted: list[tuple[str, float]] = []
        self.last = ""  # of the tenants that have left

    def level(self, tenant: str) -> float:
        return sum(cost for name, cost in self.counted if name == tenant)

    def joined(self, who: int, flow: Flow) -> None:
        tenants = {each.tenant for _, each in self.waiting}
        if flow.tenant not in tenants:
            floor = min(map(self.level, tenants)) if tenants else self.level(self.last)
            self.counted.append((flow.tenant, max(0.0, floor - SAVED - self.level(flow.tenant))))
        self.waiting.append((who, flow))

    def left(self, who: int) -> None:
        (flow,) = (each for name, each in self.waiting if name == who)
        self.waiting = [each for each in self.waiting if each[0] != who]
        if flow.tenant not in {each.tenant for _, each in self.waiting}:
            self.last = flow.tenant

    def charged(self, flow: Flow, cost: float) -> None:
        self.counted.append((flow.tenant, cost / flow.weight / STEP**flow.priority))

    def first(self) -> set[int]:
        """All that may be next: tenants that are level are equally good."""
        best = min(self.level(flow.tenant) for _, flow in self.waiting)
        found = set()
        for tenant in {flow.tenant for _, flow in self.waiting if self.level(flow.tenant) == best}:
            own = [each for each in self.waiting if each[1].tenant == tenant]
            most = max(flow.priority for _, flow in own)
            found.add(next(who for who, flow in own if flow.priority == most))
        return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("jnlc"), st.integers(0, 99)), max_size=60))
def test_the_line_is_the_papers(steps: list[tuple[str, int]]) -> None:
    line, slow, names = Line[int](), Slow(), iter(range(1000))
    for what, number in steps:
        flow = FLOWS[number % len(FLOWS)]
        if what == "j":
            who = next(names)
            line.join(who, flow)
            slow.joined(who, flow)
        elif what == "c":
            line.charge(flow, number * 100)
            slow.charged(flow, number * 100)
        elif slow.waiting:
            left = line.first() if what == "n" else slow.waiting[number % len(slow.waiting)][0]
            assert what == "l" or left in slow.first()
            assert left is not None
            line.leave(left)
            slow.left(left)
        assert sorted(line) == [who for who, _ in slow.waiting]
        assert (line.first() is None) == (not slow.waiting)


@dataclass
class Machine:
    """So many places; whoever holds one writes a token in each round."""

    places: int
    line: Line[int] = field(default_factory=Line)
    flows: dict[int, Flow] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)  # tokens of prompt and answer
    running: dict[int, int] = field(default_factory=dict)  # tokens still to be written
    served: Counter[Flow] = field(default_factory=Counter)

    def ask(self, flow: Flow, prompt: int, answer: int) -> None:
        who = len(self.flows)
        self.flows[who], self.sizes[who] = flow, (prompt, answer)
        self.line.join(who, flow)

    def waiting(self, flow: Flow) -> int:
        return sum(self.flows[who] == flow for who in self.line)

    def round(self) -> None:
        while len(self.running) < self.places and (who := self.line.first()) is not None:
            self.line.leave(who)
            prompt, self.running[who] = self.sizes[who]
            self._serve(self.flows[who], prompt * PROMPT_COST)
        assert len(self.running) == self.places or not len(self.line)  # nothing is idle while somebody waits
        for who in list(self.running):
            self._serve(self.flows[who], ANSWER_COST)
            self.running[who] -= 1
            if not self.running[who]:
                del self.running[who]

    def _serve(self, flow: Flow, cost: float) -> None:
        self.line.charge(flow, cost)
        self.served[flow] += cost


def share(flow: Flow) -> float:
    return flow.weight * STEP**flow.priority


sizes = st.tuples(st.integers(1, 40), st.integers(1, 15))
requests = st.lists(sizes, min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(
    places=st.integers(1, 4),
    weights=st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([1.0, 2.0])),
    priority=st.integers(-2, 2),
    asks=st.tuples(requests, requests),
    visitor=st.lists(st.tuples(st.integers(0, 60), sizes), max_size=10),
    crowds=st.tuples(st.integers(1, 10), st.integers(1, 10)),
)
def test_two_that_always_wait_are_served_alike(
    places: int,
    weights: tuple[float, float],
    priority: int,
    asks: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    visitor: list[tuple[int, tuple[int, int]]],
    crowds: tuple[int, int],
) -> None:
    """The paper's theorem, in any interval: whatever they ask, as many as they are, whoever else comes."""
    machine = Machine(places)
    flows = Flow("f", weights[0]), Flow("g", weights[1], priority)
    one = max(size[0] * PROMPT_COST for each in asks for size in each)
    rest = places * max(size[1] * ANSWER_COST for each in asks for size in each)
    bound = sum((one + rest) / share(flow) for flow in flows)
    turns: Counter[Flow] = Counter()
    differences = []
    for now in range(60):
        for flow, ask, crowd in zip(flows, asks, crowds, strict=True):
            while machine.waiting(flow) < crowd + places:  # all may be taken, and some still wait
                machine.ask(flow, *ask[turns[flow] % len(ask)])
                turns[flow] += 1
        for at, size in visitor:
            if at == now:
                machine.ask(Flow("v"), *size)
        machine.round()
        f, g = (machine.served[flow] / share(flow) for flow in flows)
        differences.append(f - g)
    assert max(differences) - min(differences) <= bound


def test_one_that_sends_more_gets_no_more() -> None:
    machine = Machine(4)
    few, many = Flow("few"), Flow("many")
    for _ in range(400):
        while machine.waiting(few) < 5:
            machine.ask(few, 10, 10)
        while machine.waiting(many) < 50:
            machine.ask(many, 10, 10)
        machine.round()
    assert machine.served[few] / machine.served[many] == pytest.approx(1.0, abs=0.1)


def test_weights_are_shares_and_urgent_tokens_count_less() -> None:
    machine = Machine(4)
    flows = [Flow("a"), Flow("b", 3.0), Flow("c", 1.0, 1), Flow("d", 1.0, -1)]
    for _ in range(3000):
        for flow in flows:
            while machine.waiting(flow) < 5:
                machine.ask(flow, 5, 10)
        machine.round()
    shares = [machine.served[flow] / machine.served[flows[0]] for flow in flows]
    assert shares == pytest.approx([1.0, 3.0, STEP, 1 / STEP], rel=0.1)  # nobody is starved


def test_of_a_tenants_own_the_urgent_go_first_and_count_less() -> None:
    machine = Machine(2)
    calm, urgent, other = Flow("a"), Flow("a", 1.0, 1), Flow("b")
    for now in range(1000):
        for flow in (calm, other) if now % 50 else (calm, other, urgent):
            while machine.waiting(flow) < 3:
                machine.ask(flow, 5, 10)
        machine.round()
        assert now % 50 < 40 or not machine.waiting(urgent)
    counted = machine.served[calm] + machine.served[urgent] / STEP
    assert counted == pytest.approx(machine.served[other], rel=0.05)


@pytest.mark.parametrize("saved", [0.0, 100.0])
def test_who_was_away_has_saved_no_more_than_that(saved: float) -> None:
    machine = Machine(1, Line(saved))
    here, back = Flow("here"), Flow("back")
    for _ in range(300):
        while machine.waiting(here) < 2:
            machine.ask(here, 1, 5)
        machine.round()
    before = machine.served[here]
    for _ in range(200):
        for flow in (here, back):
            while machine.waiting(flow) < 2:
                machine.ask(flow, 1, 5)
        machine.round()
    assert machine.served[here] - before == pytest.approx(machine.served[back] - saved, abs=2 * 11)


def test_turns_count_others_up_to_their_share() -> None:
    line = Line[int]()
    assert line.turns(Flow("me")) == 1
    for who in range(10):
        line.join(who, Flow("crowd"))
    assert line.turns(Flow("crowd")) == 11
    assert line.turns(Flow("me")) == 2
    assert line.turns(Flow("me", 4.0)) == 1.25
    assert line.turns(Flow("me"), 20) == 30
    assert line.turns(Flow("crowd", 1.0, 1)) == 1
    line.join(10, Flow("me"))
    assert line.turns(Flow("me")) == 4


def joined(*flows: Flow) -> Line[int]:
    line = Line[int]()
    for who, flow in enumerate(flows):
        line.join(who, flow)
    return line


def test_the_last_of_the_largest_crowd_gives_way() -> None:
    crowd, other, me = Flow("crowd"), Flow("other"), Flow("me")
    line = joined(crowd, other, crowd, crowd, other)
    assert line.giving_way(me) == [3]
    assert line.giving_way(me, 2) == [3]  # then nobody has more than two
    assert line.giving_way(Flow("me", 4.0), 3) == [3, 2, 4]
    assert line.giving_way(crowd) == []
    assert line.giving_way(other) == []  # with him they would be as many
    assert joined(crowd, crowd).giving_way(other) == [1]
    assert joined(crowd).giving_way(other) == []  # else they would push each other out for ever


def test_of_a_tenants_own_the_less_urgent_give_way() -> None:
    line = joined(Flow("a"), Flow("a", 1.0, -1), Flow("a"), Flow("b"))
    assert line.giving_way(Flow("a"), 2) == [1]
    assert line.giving_way(Flow("a", 1.0, 1), 2) == [1, 2]
    assert line.giving_way(Flow("a", 1.0, -1)) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=80))
def test_a_full_line_is_shared(asked: list[tuple[int, int]]) -> None:
    """Nobody is kept out by others who have more, and the line never grows beyond its bound."""
    line, bound, names = Line[int](), 8, iter(range(1000))
    flows = [Flow(name, weight) for name, weight in zip("abcdef", [1, 1, 2, 4, 1, 1], strict=True)]
    owners: dict[int, Flow] = {}
    for which, count in asked:
        flow = flows[which]
        need = max(0, len(line) + count - bound)
        out = line.giving_way(flow, need) if need else []
        waiting: defaultdict[str, int] = defaultdict(int)
        for who in line:
            waiting[owners[who].tenant] += 1
        if len(out) < need:
            mine = waiting[flow.tenant] + len(out) + 1
            for other in flows:
                taken = sum(owners[who] == other for who in out)
                assert other == flow or waiting[other.tenant] - taken <= mine / flow.weight * other.weight
            continue
        for who in out:
            assert owners[who] != flow
            line.leave(who)
        for _ in range(count):
            who = next(names)
            owners[who] = flow
            line.join(who, flow)
        assert len(line) <= bound
