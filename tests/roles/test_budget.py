"""Budget control against every fixed budget, on machines and models with known costs and chances."""

from itertools import product
from statistics import median

import pytest

from ringroad.actors.messages import Pass
from ringroad.actors.router.chances import Chain
from ringroad.actors.router.costs import Curve, Meter
from ringroad.actors.router.forecasts import Chances, Load, forecast, plans
from ringroad.actors.router.pace import like, of_all
from tests.roles.crowds import CEILING, MACHINES, Crowd, Machine, fixed_rates

ROUNDS = {1: 800, 4: 400, 32: 160}
SETTLING = 5  # a fifth of the rounds: where a router has just begun
RIGHT = (0.05, 0.3, 0.6, 0.8, 0.95)


REGIMES = [(*regime, 0.7) for regime in product(MACHINES, ROUNDS, RIGHT)]
REGIMES += [(*regime, 1.0) for regime in product(MACHINES, (1,), RIGHT)]


@pytest.mark.parametrize(("machine", "sessions", "right", "on"), REGIMES)
def test_near_the_best_fixed_budget_and_never_below_none(
    machine: str, sessions: int, right: float, on: float
) -> None:
    rounds = ROUNDS[sessions]
    fixed = fixed_rates(MACHINES[machine], sessions, right, on, rounds // 2)
    crowd = Crowd(MACHINES[machine], sessions, right, on)
    start = crowd.rate(rounds // SETTLING)
    settled = crowd.rate(rounds)
    assert settled >= 0.97 * fixed[0]
    assert start >= 0.9 * fixed[0]
    gain = max(fixed) / fixed[0]
    assert settled >= (0.95 if gain > 1.15 else 0.9) * max(fixed)


@pytest.mark.parametrize("machine", ["gpu", "free drafter"])
def test_follows_a_text_that_changes(machine: str) -> None:
    """Where a drafter catches up cheaply; else a long plain text stays plain, for tries have a price."""
    found = []
    for seed in range(5):
        crowd = Crowd(MACHINES[machine], 1, 0.02)
        crowd.chance.seed(seed)
        crowd.rate(300)
        assert rounds_until(crowd, 0, 0) <= 20, "but for a try"
        crowd.right = 0.9
        easier = rounds_until(crowd, 4, CEILING)
        crowd.rate(200)
        crowd.right = 0.02
        found.append((easier, rounds_until(crowd, 0, 2), rounds_until(crowd, 0, 0)))
    easier, fewer, none = (median(each) for each in zip(*found, strict=True))
    assert easier <= 150
    assert fewer <= 100
    assert none <= 120


def rounds_until(crowd: Crowd, low: int, high: int) -> int:
    """Rounds played until the first session's budget is between these."""
    for played in range(1000):
        if low <= crowd.budgets[0] <= high:
            return played
        crowd.play()
    raise AssertionError("never")


def test_follows_the_load() -> None:
    crowd = Crowd(MACHINES["cpu"], 1, 0.8)
    assert crowd.rate(100) > 1.4 * fixed_rates(MACHINES["cpu"], 1, 0.8, 1.0, 50)[0]
    crowd.hold(32)
    crowd.rate(40)
    assert sum(crowd.budgets) <= 2
    crowd.hold(1)
    crowd.rate(40)
    assert crowd.budgets[0] >= 2


@pytest.mark.parametrize("busy", [3.0, 8.0])
def test_who_began_on_a_busy_machine_is_not_plain_for_ever(busy: float) -> None:
    """Plain steps are measured on, so their new cost is seen; that of drafts only when some are made."""
    quiet = MACHINES["cpu"]
    slow = Machine(lambda rows: 8 * busy * quiet.draft(rows), lambda rows: busy * quiet.judge(rows))
    crowd = Crowd(slow, 1, 0.8)
    crowd.rate(40)
    assert crowd.budgets == [0], "there it did not pay"
    crowd.machine = quiet
    crowd.rate(300)
    fixed = fixed_rates(quiet, 1, 0.8, 1.0, 50)
    assert crowd.rate(200) >= 0.9 * max(fixed)


@pytest.mark.parametrize(("unread", "drafters"), [(20_000, 1), (100, 2)])
def test_nobody_is_looked_at_again_at_any_price(unread: int, drafters: int) -> None:
    """A long text is not read only to measure, and two verifiers of one drafter are no change of machine."""
    crowd = Crowd(MACHINES["dear drafter"], 1, 0.02)
    crowd.rate(60)
    for round in range(40):
        for _ in range(9):
            crowd.judging.observe(Pass(0.06 * (2 if round % 2 else 1), 1, 1), 1, guessing=False)
        load = Load(crowd.drafting, crowd.judging, drafters, 1)
        assert crowd.control.choose(crowd.paces[0], load, unread, 1000) == 0, round


def test_a_drafter_that_was_slow_for_a_while_is_looked_at_again() -> None:
    """On a machine of its own: nothing of the verifier's tells."""
    quiet = MACHINES["gpu"]
    crowd = Crowd(Machine(lambda rows: 100.0 * quiet.draft(rows), quiet.judge), 1, 0.8)
    crowd.rate(100)
    assert crowd.budgets == [0]
    crowd.machine = quiet
    crowd.rate(3300)
    crowd.unread = [100]  # another session
    crowd.rate(10)
    assert crowd.rate(200) >= 0.9 * max(fixed_rates(quiet, 1, 0.8, 1.0, 50))


def test_where_nothing_pays_the_drafter_is_hardly_asked() -> None:
    crowd = Crowd(MACHINES["dear drafter"], 4, 0.3)
    crowd.rate(50)
    asked = 0
    for _ in range(300):
        crowd.play()
        asked += sum(budget > 0 for budget in crowd.budgets)
    assert asked <= 0.03 * 4 * 300


@pytest.mark.parametrize("machine", ["cpu", "gpu", "free drafter"])
def test_a_crowd_on_the_drafters_own_cores_does_not_wait_for_drafts(machine: str) -> None:
    """Passes that all share look cheap, but while some draft there, all wait or go on without them."""
    apart, together = (Crowd(MACHINES[machine], 4, 0.7, one_place=one_place) for one_place in (False, True))
    for crowd in (apart, together):
        crowd.rate(100)
    assert min(apart.budgets) > 0
    assert together.budgets == [0] * 4
    together.hold(1)
    together.rate(20)
    assert together.budgets[0] > 0


def test_what_needs_no_draft_pass_is_guessed_in_a_crowd_too() -> None:
    crowd = Crowd(MACHINES["cpu"], 4, 0.7, one_place=True)
    crowd.rate(60)
    load = Load(crowd.drafting, crowd.judging, 4, 4, one_place=True)
    for drafted, pays in ((0.0, True), (1.0, False)):
        chances = Chances([0.9, 0.8, 0.7, 0.6], [1.0] * 4, [drafted] * 4)
        found = plans(load, chances, forecast(load, chances), common=0, margin=0.03)
        assert (min(plan.excess for plan in found) < 0) == pays


def test_a_good_session_among_bad_ones_guesses_alone() -> None:
    """Where a lone draft pass pays: chances are a session's own."""
    crowd = Crowd(MACHINES["free drafter"], 4, 0.05)
    crowd.rate(60)
    good, load_budgets = crowd.paces[0], []
    for _ in range(60):
        good.record.observe(4, 4, 4, 4)
        crowd.play()
        load_budgets.append(list(crowd.budgets))
    assert sum(budgets[0] for budgets in load_budgets) > 5 * sum(budgets[1] for budgets in load_budgets)


def test_nothing_measured_nothing_guessed() -> None:
    crowd = Crowd(MACHINES["cpu"], 2, 1.0)
    for _ in range(3):
        crowd.play()
        assert crowd.drafting.curve.at(1) == 0.0, "not even the drafter's cost is known"
    crowd.rate(20)
    assert min(crowd.budgets) >= CEILING - 2


# --- costs ----------------------------------------------------------------------------------------


def test_a_curve_goes_through_what_was_seen_and_on() -> None:
    curve = Curve()
    for rows in (1, 5, 9, 33):
        for _ in range(9):
            curve.observe(Pass(0.06 + 0.006 * rows, rows, 1))
    for rows in (1, 3, 7, 9, 20, 33, 50):
        assert curve.at(rows) == pytest.approx(0.06 + 0.006 * rows)
    assert curve.slope(8) == pytest.approx(0.006)
    assert curve.most == 33
    assert curve.knows(5)
    assert curve.knows(12)
    assert not curve.knows(18)


def test_a_curve_never_falls_whatever_is_seen() -> None:
    curve = Curve()
    for rows, seconds in ((1, 0.09), (2, 0.05), (4, 0.07), (8, 0.06), (16, 0.2)):
        curve.observe(Pass(seconds, rows, 1))
    seen = [curve.at(rows) for rows in (1, 2, 3, 4, 6, 8, 12, 16, 24)]
    assert seen == sorted(seen)
    assert curve.at(2) == pytest.approx((0.09 + 0.05 + 0.07 + 0.06) / 4), "neighbours that fall are merged"


def test_a_hiccup_is_no_news_and_a_change_is() -> None:
    curve = Curve()
    for _ in range(20):
        curve.observe(Pass(0.1, 4, 1))
    curve.observe(Pass(9.0, 4, 1))
    assert curve.at(4) <= 0.13
    for _ in range(30):
        curve.observe(Pass(0.3, 4, 1))
    assert curve.at(4) == pytest.approx(0.3, rel=0.02)


def test_a_hiccup_is_no_news_of_what_is_old_either() -> None:
    curve = Curve()
    for _ in range(9):
        curve.observe(Pass(0.1, 4, 1))
    curve.age()
    for seconds in (0.9, 0.1, 0.1, 0.1):
        curve.observe(Pass(seconds, 4, 1))
        assert curve.at(4) <= 0.2
    assert curve.at(4) < 0.14


def test_what_was_not_seen_lately_counts_little_and_changes_with_what_is_seen() -> None:
    curve = Curve()
    for _ in range(9):
        for rows in (2, 4, 8):
            curve.observe(Pass(0.1 * rows, rows, 1))
    curve.observe(Pass(0.05, 4, 1))
    assert curve.at(4) > 0.3, "one among many"
    curve.age()
    curve.observe(Pass(0.05, 4, 1))
    assert curve.at(4) == pytest.approx(0.05, rel=0.1)
    assert curve.at(2) == pytest.approx(0.025, rel=0.25)
    assert curve.at(8) == pytest.approx(0.1, rel=0.25)


def test_a_pass_counts_once_however_many_report_it() -> None:
    alone, shared = Curve(), Curve()
    for seconds in (0.1, 0.12, 0.15):
        alone.observe(Pass(seconds, 4, 1))
        for _ in range(16):
            shared.observe(Pass(seconds, 4, 16))
    assert shared.at(4) == pytest.approx(alone.at(4), rel=0.1)


def test_a_share_is_of_those_who_really_share() -> None:
    meter = Meter()
    for _ in range(1000):
        meter.observe(Pass(0.1, 8, 4), 8, guessing=True)
    assert meter.served(8, guessing=True) == pytest.approx(4.0, rel=1e-3)
    assert meter.served(8, guessing=False) == 8.0, "nothing was seen of those"
    assert meter.share(2.0, 8, guessing=True) == pytest.approx(0.1 / 4, rel=1e-3)
    for _ in range(9):
        meter.observe(Pass(0.1, 8, 1), None, guessing=True)
    assert meter.served(8, guessing=True) == pytest.approx(4.0, rel=1e-3)


# --- chances --------------------------------------------------------------------------------------


def test_chances_are_decayed_means_drawn_towards_the_expected() -> None:
    others = Chain(0.995, trust=1.0)
    own = Chain(0.9, others)
    seen = [3, 0, 2, 2, 4, 1]
    for reached in seen:
        own.observe(reached, 4)
    expected = others.chances(4)
    for i, chance in enumerate(own.chances(4)):
        trials = [
            (0.9 ** (len(seen) - 1 - at), reached > i) for at, reached in enumerate(seen) if reached >= i
        ]
        hits = sum(weight for weight, hit in trials if hit)
        count = sum(weight for weight, _ in trials)
        assert chance == pytest.approx((hits + 5.0 * expected[i]) / (count + 5.0))
    assert own.reach(4)[1] == pytest.approx(own.chances(4)[0] * own.chances(4)[1])


def test_second_choices_are_rows() -> None:
    everyone = of_all()
    record = like(everyone).record
    for _ in range(200):
        record.observe(4, 8, 4, 2)  # each guess with another beside it
    for each in (record, everyone, like(everyone).record):
        assert each.chances(4).made == pytest.approx([2.0] * 4, rel=0.1)
    for _ in range(200):
        record.observe(4, 4, 4, 2)
    assert everyone.chances(4).made == pytest.approx([1.0] * 4, rel=0.1)
