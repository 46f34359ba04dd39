"""Which consults the hub holds back until others of the same company have drafted."""

from ringroad.actors.messages import Cancel, Close, Consult, Hello, Mode, Open
from ringroad.actors.router.company import PATIENCE
from tests.roles.company import DRAFT, GATE, JUDGE, SHARED, Hub


def test_sessions_of_one_place_are_judged_together() -> None:
    hub = Hub("a", "b", "c")
    hub.asked()
    hub.propose("b")
    hub.propose("a")
    assert hub.asked() == []
    hub.propose("c")
    assert hub.asked() == ["b", "a", "c"]


def test_sessions_of_other_places_go_ahead() -> None:
    hub = Hub("a", "b", drafter=["host cuda of 0"], verifier=["host cuda of 1"])
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_one_core_in_common_is_enough() -> None:
    hub = Hub("a", "b", drafter=["host core 1"])
    hub.asked()
    hub.propose("a")
    assert hub.asked() == []


def test_who_guesses_nothing_waits_for_those_answered_with_it() -> None:
    hub = Hub("a", "b")
    hub.begin("c", budget=0)
    hub.propose("a")
    hub.propose("b")
    hub.judge("c", "a", "b")  # it asks for no draft, and its verdict is read first
    hub.asked()
    hub.propose("b")
    assert hub.asked() == []
    hub.propose("a")
    assert hub.asked() == ["c", "b", "a"]


def test_nobody_waits_for_a_prompt() -> None:
    hub = Hub("a")
    hub.begin("b")
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_plain_sessions_do_not_wait() -> None:
    hub = Hub("a")
    hub.asked()
    hub.begin("b", Mode.LARGE)
    assert hub.asked() == ["b"]


def test_nobody_waits_for_small_sessions() -> None:
    hub = Hub("a")
    hub.begin("b", Mode.SMALL, prompt=1)
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_nobody_waits_long_for_a_drafter_that_hangs() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.now = 0.9 * PATIENCE
    hub.router.tick(hub.now)
    assert hub.asked() == []
    hub.now = 1.1 * PATIENCE
    hub.router.tick(hub.now)
    assert hub.asked() == ["a"]


def test_an_end_sets_others_free() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.hears(GATE, Cancel("b"))
    assert hub.asked() == ["a"]


def test_one_that_waits_may_end() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.hears(GATE, Cancel("a"))
    assert (JUDGE, Close("a")) in hub.sent
    hub.propose("b")
    assert hub.asked() == ["b"]


def test_a_lost_drafter_sets_all_free() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.router.lose(DRAFT)
    assert sorted(hub.asked()) == ["a", "b"]


def test_one_that_waits_follows_to_another_verifier() -> None:
    hub = Hub("a", "b")
    other = b"other judge"
    hub.hears(other, Hello("verifier", place=SHARED))
    hub.propose("a")
    hub.sent.clear()
    hub.router.lose(JUDGE)
    assert not hub.consults()
    hub.propose("b")
    told = [
        (type(each), each.session)
        for to, each in hub.sent
        if to == other and isinstance(each, Open | Consult)
    ]
    assert sorted(told, key=str) == sorted(
        [(Open, "a"), (Consult, "a"), (Open, "b"), (Consult, "b")], key=str
    )
    texts = {each.session: each.tokens for to, each in hub.sent if to == other and isinstance(each, Consult)}
    assert texts == {name: [*[1] * 40, 5, 6, 7] for name in "ab"}
