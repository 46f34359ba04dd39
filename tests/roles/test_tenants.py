"""Drafter and verifier, one message at a time, on a tiny model."""

import pytest

from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import (
    Close,
    Consult,
    Draft,
    Failed,
    Forgotten,
    Message,
    Open,
    Policy,
    Proposal,
    Sampling,
    Verdict,
    Welcome,
)
from ringroad.actors.verifier.verifier import Verifier
from tests import reference
from tests.engine.tiny import SHAPE, prompt, tiny

WARM = Sampling(seed=5, temperature=0.8)
MODEL = tiny("bf16")
TEXT = prompt(30)
BLOCK_BYTES = SHAPE.layers * 2 * SHAPE.kv_heads * BLOCK * SHAPE.head_dim * 2
LONG = reference.plain_text(MODEL, TEXT, WARM, 24)
Tenant = ModelDrafter | Verifier


def verifier(chunk: int = 256) -> Verifier:
    made = Verifier(Engine(MODEL), "tiny", chunk)
    made.receive(Open("s", 0, WARM))
    return made


def drafter(chunk: int = 256) -> ModelDrafter:
    made = ModelDrafter(Engine(MODEL), "tiny", chunk)
    made.receive(Open("s", 0, WARM))
    return made


def answered(role: Tenant, *messages: Message) -> list[Message]:
    for message in messages:
        role.receive(message)
    found: list[Message] = []
    while role.busy:
        found += role.step()
    return found


def verdict(role: Tenant, consult: Consult) -> tuple[list[int], int]:
    (answer,) = answered(role, consult)
    assert isinstance(answer, Verdict)
    assert (answer.session, answer.epoch, answer.length) == (
        "s",
        consult.epoch,
        consult.base + len(consult.tokens),
    )
    assert answer.seconds > 0
    return answer.path, answer.token


def proposal(role: Tenant, draft: Draft) -> Proposal:
    (answer,) = answered(role, draft)
    assert isinstance(answer, Proposal)
    assert (answer.session, answer.epoch, answer.length) == ("s", draft.epoch, draft.base + len(draft.tokens))
    return answer


@pytest.mark.parametrize("chunk", [16, 29, 30, 31, 256])
def test_a_verdict_on_nothing_is_the_next_token(chunk: int) -> None:
    assert verdict(verifier(chunk), Consult("s", 0, 0, TEXT)) == ([], LONG[0])


@pytest.mark.parametrize("right", range(5))
def test_a_verdict_on_a_chain(right: int) -> None:
    guesses = [*LONG[:right], *((t + 1) % SHAPE.vocabulary for t in LONG[right:4])]
    judge = verifier()
    assert verdict(judge, Consult("s", 0, 0, TEXT, guesses)) == (list(range(right)), LONG[right])
    held = len(TEXT) + right + 1
    assert verdict(judge, Consult("s", 0, held, [], LONG[right + 1 : right + 3])) == ([0, 1], LONG[right + 3])


def test_a_verdict_on_a_tree_and_on_what_follows_its_path() -> None:
    wrong = [(t + 1) % SHAPE.vocabulary for t in LONG]
    judge = verifier()
    tree = Consult("s", 0, 0, TEXT, [wrong[0], LONG[0], wrong[1], LONG[1], LONG[1]], [-1, -1, 1, 1, 0])
    assert verdict(judge, tree) == ([1, 3], LONG[2])
    assert verdict(judge, Consult("s", 0, len(TEXT) + 3, [], LONG[3:6])) == ([0, 1, 2], LONG[6])


def test_a_consult_may_go_back_and_change_the_text() -> None:
    """Its base says what still holds; what was cached of another text must not be read."""
    judge, other = verifier(), prompt(10, 77)
    verdict(judge, Consult("s", 0, 0, TEXT, LONG[:3]))
    expected = reference.plain_text(MODEL, TEXT[:20] + other, WARM, 1)[0]
    assert verdict(judge, Consult("s", 0, 20, other)) == ([], expected)


def test_a_repeated_consult_gets_the_same_verdict() -> None:
    judge = verifier()
    consult = Consult("s", 0, 0, TEXT, LONG[:3])
    assert verdict(judge, consult) == verdict(judge, consult) == ([0, 1, 2], LONG[3])


@pytest.mark.parametrize("chunk", [16, 256])
@pytest.mark.parametrize("budget", [1, 4])
def test_a_proposal_is_the_models_own_text(budget: int, chunk: int) -> None:
    guess = drafter(chunk)
    first = proposal(guess, Draft("s", 0, 0, TEXT, budget))
    assert (first.tokens, first.parents, first.features) == (LONG[:budget], [], None)
    # Part of it stays, the next token is another.
    base = len(TEXT) + budget - 1
    expected = reference.plain_text(MODEL, TEXT + LONG[: budget - 1] + [3], WARM, 4)
    assert proposal(guess, Draft("s", 0, base, [3], 4)).tokens == expected


def test_a_draft_stops_after_the_guess_its_rule_would_consult_on() -> None:
    everything = proposal(drafter(), Draft("s", 0, 0, TEXT, 12, Policy("margin", 2.0)))
    assert everything.tokens == LONG[:12]
    assert everything.features is not None
    margins = everything.features.margin
    assert len(margins) == len(everything.features.entropy) == 12
    threshold = 1.0 - sorted(margins)[1]  # two guesses are as doubtful
    first = next(i for i, margin in enumerate(margins) if 1.0 - margin >= threshold)
    cut = proposal(drafter(), Draft("s", 0, 0, TEXT, 12, Policy("margin", threshold)))
    assert cut.tokens == LONG[: first + 1]
    assert cut.features is not None
    assert cut.features.margin == margins[: first + 1]


@pytest.mark.parametrize("make", [verifier, drafter])
def test_what_is_not_held_is_forgotten(make: type[Tenant]) -> None:
    role = make()

    def ask(session: str, epoch: int, base: int) -> list[Message]:
        consult = Consult(session, epoch, base, TEXT)
        draft = Draft(session, epoch, base, TEXT, 1)
        return answered(role, consult if isinstance(role, Verifier) else draft)

    assert ask("other", 0, 0) == [Forgotten("other", 0)]
    assert ask("s", 1, 0) == [Forgotten("s", 1)]
    assert ask("s", 0, 1) == [Forgotten("s", 0)]
    assert not isinstance(ask("s", 0, 0)[0], Forgotten)
    role.receive(Open("s", 1, WARM))
    assert ask("s", 0, 0) == [Forgotten("s", 0)]
    assert ask("s", 1, 5) == [Forgotten("s", 1)]
    role.receive(Close("s"))
    role.receive(Close("s"))
    assert ask("s", 1, 0) == [Forgotten("s", 1)]
    assert (role.hello().sessions, role.hello().cached_tokens) == (0, 0)


def test_a_question_that_comes_late_changes_nothing() -> None:
    """A text that is cut back, and goes on with guesses, would be taken for what stood there before."""
    judge = verifier()
    first = Consult("s", 0, 0, TEXT[:20])
    verdict(judge, first)
    assert verdict(judge, Consult("s", 0, 20, TEXT[20:])) == ([], LONG[0])
    assert answered(judge, first) == []
    assert verdict(judge, Consult("s", 0, len(TEXT) + 1, [])) == ([], LONG[1])


def test_an_opening_that_comes_again_voids_nothing() -> None:
    role = verifier()
    role.receive(Open("s", 1, WARM))
    role.receive(Consult("s", 1, 0, TEXT))
    for epoch in (0, 1):
        role.receive(Open("s", epoch, WARM))
    (answer,) = answered(role)
    assert isinstance(answer, Verdict)
    assert (answer.epoch, answer.token) == (1, LONG[0])


@pytest.mark.parametrize("make", [verifier, drafter])
def test_opening_or_closing_drops_the_question_in_hand(make: type[Tenant]) -> None:
    for end in (Open("s", 1, WARM), Close("s"), Welcome("another")):
        role = make()
        role.receive(
            Draft("s", 0, 0, TEXT, 3) if isinstance(role, ModelDrafter) else Consult("s", 0, 0, TEXT)
        )
        assert role.busy
        role.receive(end)
        assert not role.busy
        assert role.step() == []
        assert role.hello().cached_tokens == 0


def test_of_a_step_that_raises_only_the_session_at_fault_is_given_up() -> None:
    judge = verifier()
    judge.receive(Open("bad", 0, WARM))
    judge.receive(Consult("s", 0, 0, TEXT))
    judge.receive(Consult("bad", 0, 0, [SHAPE.vocabulary + 5]))  # no such token: the embedding raises
    with pytest.raises(IndexError):
        judge.step()
    answers = judge.rescue()
    assert {type(a): a.session for a in answers} == {Verdict: "s", Failed: "bad"}
    assert [a.token for a in answers if isinstance(a, Verdict)] == LONG[:1]
    assert not judge.busy
    assert judge.hello().sessions == 1
    judge.receive(Close("s"))
    assert (judge.hello().sessions, judge.hello().cached_tokens) == (0, 0)


def test_a_second_request_takes_over_what_the_first_has_read() -> None:
    judge, text = verifier(), prompt(500, 3)
    answered(judge, Consult("s", 0, 0, text))
    judge.receive(Close("s"))
    assert (judge.hello().cached_tokens, judge.hello().idle_tokens) == (0, 512)
    judge.receive(Open("t", 0, WARM))
    judge.receive(Consult("t", 0, 0, [*text[:450], *prompt(20, 4)]))
    assert [type(answer) for answer in judge.step()] == [Verdict]
    assert (judge.hello().cached_tokens, judge.hello().idle_tokens) == (470, 64)
    assert judge.hello().found_share == pytest.approx(448 / (500 + 470))


def test_a_text_too_long_for_the_cache_is_one_sessions_failure() -> None:
    judge = Verifier(Engine(MODEL, cache_bytes=3 * BLOCK_BYTES), "tiny", prefill_chunk=64, step_tokens=64)
    for session in ("s", "long"):
        judge.receive(Open(session, 0, WARM))
    (failed,) = answered(judge, Consult("long", 0, 0, prompt(200)))
    assert isinstance(failed, Failed)
    assert failed.session == "long"
    assert "192 tokens" in failed.error
    assert verdict(judge, Consult("s", 0, 0, TEXT)) == ([], LONG[0])
    assert answered(judge, Consult("long", 0, 0, TEXT)) == [Forgotten("long", 0)]


def test_a_text_as_long_as_hello_says_has_room_beside_the_most_guesses() -> None:
    judge = Verifier(Engine(MODEL, cache_bytes=3 * BLOCK_BYTES), "tiny")
    assert judge.hello().longest == 128
    judge.receive(Open("s", 0, WARM))
    # 16 guesses and a second choice beside each, when the text lacks only its last token.
    guesses, parents = prompt(32), [-1, -1, *(at for at in range(0, 30, 2) for _ in range(2))]
    (found,) = answered(judge, Consult("s", 0, 0, prompt(127), guesses, parents))
    assert isinstance(found, Verdict)


@pytest.mark.parametrize("blocks", [2, 3, 50])
def test_verdicts_are_the_same_however_little_room_there_is(blocks: int) -> None:
    """Sessions give way to each other and are read again."""
    judge = Verifier(
        Engine(MODEL, cache_bytes=blocks * BLOCK_BYTES), "tiny", prefill_chunk=16, step_tokens=32
    )
    names = [str(i) for i in range(4)]
    for name in names:
        judge.receive(Open(name, 0, WARM))
    for at in range(0, 20, 4):
        base = len(TEXT) + at if at else 0
        new = [] if at else TEXT
        found = answered(judge, *(Consult(name, 0, base, new, LONG[at : at + 3]) for name in names))
        assert {a.session: (a.path, a.token) for a in found if isinstance(a, Verdict)} == dict.fromkeys(
            names, ([0, 1, 2], LONG[at + 3])
        )
    for name in names:
        judge.receive(Close(name))
    assert (judge.hello().sessions, judge.hello().cached_tokens) == (0, 0)
    assert judge._engine._pool.held == 0


def test_one_who_is_consulted_token_by_token_does_not_wait_for_prompts() -> None:
    judge = verifier()
    verdict(judge, Consult("s", 0, 0, TEXT))
    for i in range(20):
        judge.receive(Open(str(i), 0, WARM))
        judge.receive(Consult(str(i), 0, 0, prompt(100, i)))
    others: list[str] = []
    for i in range(6):
        judge.receive(Consult("s", 0, len(TEXT) + i, LONG[i : i + 1]))
        answers = {answer.session: answer for answer in judge.step() if isinstance(answer, Verdict)}
        assert answers.pop("s").token == LONG[i + 1]
        others += answers
    others += [answer.session for answer in answered(judge) if isinstance(answer, Verdict)]
    assert others == [str(i) for i in range(20)]


def test_hello_says_who() -> None:
    judge = verifier()
    answered(judge, Consult("s", 0, 0, TEXT))
    hello = judge.hello()
    assert (hello.role, hello.model, hello.vocabulary, hello.context) == (
        "verifier",
        "tiny",
        320,
        SHAPE.context,
    )
    assert (hello.sessions, hello.cached_tokens) == (1, len(TEXT))
    assert drafter().hello().role == "drafter"
