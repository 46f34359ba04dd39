"""What a client makes of broken streams: the rule, and the text that comes of it."""

from itertools import pairwise

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.cluster.reading import Course, Patience, Reading, backoff, course
from ringroad.cluster.wire import CallFailed, generate_request
from ringroad.v1.inference_pb2 import Delta, Final, GenerateRequest
from tests.cluster.texts import FULL, IDS, SPEAKERS, stream

Code = grpc.StatusCode
PATIENCE = Patience(begin=5, resume=60)


def failure(code: Code, *, spoken: bool = False, retry: float | None = None) -> CallFailed:
    return CallFailed(code, "because", {}, retry, spoken)


def reading(*, timeout: float | None = None, busy: bool = False, **options: object) -> Reading:
    return Reading(generate_request("hi", **options), 0.0, timeout, PATIENCE, busy)  # type: ignore[arg-type]


BROKEN = [failure(Code.UNAVAILABLE), failure(Code.UNAVAILABLE, spoken=True, retry=1.0)] + [
    failure(code) for code in (Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN)
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_stream_goes_on_where_it_was(broken: CallFailed) -> None:
    for resuming in (False, True):
        said = {"resuming": resuming, "wait_when_busy": False}
        assert course(broken, begun=False, **said) is Course.AGAIN
        assert course(broken, begun=True, **said) is Course.RESUME


@pytest.mark.parametrize("code", set(Code) - {Code.UNAVAILABLE, Code.OK})
def test_what_a_gateway_says_of_the_request_is_the_callers(code: Code) -> None:
    said = failure(code, spoken=True, retry=1.0)
    assert course(said, begun=True, resuming=False, wait_when_busy=False) is Course.GIVE_UP


def test_the_two_answers_that_lead_elsewhere() -> None:
    gone, full = failure(Code.NOT_FOUND, spoken=True), failure(Code.RESOURCE_EXHAUSTED, spoken=True, retry=3)
    assert course(gone, begun=True, resuming=True, wait_when_busy=False) is Course.ANEW
    assert course(full, begun=False, resuming=False, wait_when_busy=True) is Course.WAIT
    too_long = failure(Code.RESOURCE_EXHAUSTED)  # gRPC's own word for a message too large
    assert course(too_long, begun=False, resuming=False, wait_when_busy=True) is Course.GIVE_UP


def test_waits_double_within_their_bounds() -> None:
    waits = [backoff(tries, 1.0) for tries in range(1, 100)]
    assert waits[0] == pytest.approx(0.02)
    assert max(waits) == waits[-1] == 2.0
    assert all(later in (earlier * 2, 2.0) for earlier, later in pairwise(waits))
    assert all(backoff(tries, 0.0) == wait / 2 for tries, wait in enumerate(waits, start=1))


def test_what_the_caller_left_open_is_drawn_once() -> None:
    one, other = reading(), reading()
    asked = one.ask()
    assert asked.request_id
    assert asked.sampling.HasField("seed")
    assert one.ask() == asked
    assert other.ask().request_id != asked.request_id
    assert other.ask().sampling.seed != asked.sampling.seed
    named = reading(request_id="mine", seed=0).ask()
    assert (named.request_id, named.sampling.seed, named.resumable) == ("mine", 0, True)


def test_a_call_gets_what_is_left_of_the_deadline() -> None:
    assert reading().seconds_left(3.0) is None
    assert reading(timeout=5).seconds_left(3.0) == 2.0
    assert reading(timeout=5).seconds_left(9.0) == 0.0


@pytest.mark.parametrize(("begun", "seconds"), [(False, PATIENCE.begin), (True, PATIENCE.resume)])
def test_patience_ends_without_a_new_token(begun: bool, seconds: float) -> None:
    request = reading()
    request.ask()
    if begun:
        request.hear(Delta(text="a", token_ids=[1]), 0.0)
    assert request.fail(failure(Code.UNAVAILABLE), seconds - 0.1, 0.0) < 0.1
    with pytest.raises(CallFailed, match="because"):
        request.fail(failure(Code.UNAVAILABLE), seconds, 0.0)
    assert request.kept  # it may run on over there: it has to be aborted


def test_a_new_token_renews_patience_and_an_old_one_does_not() -> None:
    request = reading()
    request.ask()
    request.hear(Delta(text="a", token_ids=[1]), 0.0)
    for _ in range(9):
        request.fail(failure(Code.UNAVAILABLE), 1.0, 1.0)
    request.ask()
    assert request.hear(Delta(text="a", token_ids=[1]), 50.0) is None
    with pytest.raises(CallFailed):
        request.fail(failure(Code.UNAVAILABLE), 60.0, 1.0)
    request.hear(Delta(text="b", token_ids=[2], offset=1), 61.0)
    assert request.fail(failure(Code.UNAVAILABLE), 120.0, 1.0) == pytest.approx(0.02)


def test_with_a_deadline_a_text_is_tried_until_then() -> None:
    request = reading(timeout=200)
    request.ask()
    request.hear(Delta(text="a", token_ids=[1]), 0.0)
    request.fail(failure(Code.UNAVAILABLE), 199.9, 0.0)
    with pytest.raises(CallFailed):
        request.fail(failure(Code.UNAVAILABLE), 199.995, 0.0)


def test_a_busy_gateway_is_asked_again_when_it_says_until_the_deadline() -> None:
    full = failure(Code.RESOURCE_EXHAUSTED, spoken=True, retry=30.0)
    request = reading(busy=True, timeout=100)
    assert [request.fail(full, now, 0.0) for now in (0, 30, 60)] == [30, 30, 30]
    with pytest.raises(CallFailed):
        request.fail(full, 90, 0.0)
    with pytest.raises(CallFailed):
        reading().fail(full, 0.0, 0.0)


def test_a_text_half_read_waits_for_a_place_within_its_patience() -> None:
    full = failure(Code.RESOURCE_EXHAUSTED, spoken=True, retry=30.0)
    request = reading()
    request.ask()
    request.hear(Delta(text="a", token_ids=[1]), 0.0)
    assert request.fail(full, 0.0, 0.0) == 30.0
    with pytest.raises(CallFailed):
        request.fail(full, 30.0, 0.0)


def test_a_request_that_is_not_resumable_fails_with_its_stream() -> None:
    request = reading(resumable=False)
    request.ask()
    with pytest.raises(CallFailed):
        request.fail(failure(Code.UNAVAILABLE), 0.0, 0.0)
    assert not request.kept


def test_another_text_under_a_new_name_is_an_error() -> None:
    request = reading()
    request.ask()
    request.hear(Delta(text="ab", token_ids=[1, 2]), 0.0)
    request.fail(failure(Code.UNAVAILABLE), 0.0, 0.0)
    request.ask()
    request.fail(failure(Code.NOT_FOUND, spoken=True), 0.0, 0.0)
    request.ask()
    with pytest.raises(CallFailed, match="another one") as failed:
        request.hear(Delta(text="ac", token_ids=[1, 3]), 0.0)
    assert failed.value.code is Code.DATA_LOSS
    assert request.kept


def test_a_gap_is_an_error() -> None:
    request = reading()
    request.ask()
    with pytest.raises(CallFailed, match="token 0 was expected, and 1 came"):
        request.hear(Delta(text="a", token_ids=[1], offset=1), 0.0)


@given(st.data())
def test_however_often_it_breaks_every_token_and_character_comes_once(data: st.DataObject) -> None:
    request, heard, names, known = reading(), [], set(), False
    while not request.over:
        asked = request.ask()
        names.add(asked.request_id)
        offset = asked.resume.next_offset if asked.HasField("resume") else 0
        if asked.HasField("resume"):
            assert asked == GenerateRequest(
                request_id=asked.request_id, resumable=True, resume={"next_offset": offset}
            )
            assert known, "nothing came under this name yet"
            if data.draw(st.booleans()):
                request.fail(failure(Code.NOT_FOUND, spoken=True), 0.0, 0.0)
                known = False
                continue
        pieces = stream(offset, data.draw(st.integers(1, 4)), tail_apart=data.draw(st.booleans()))
        lost = data.draw(st.integers(0, len(pieces)))
        for piece in pieces[: len(pieces) - lost]:
            known = known or isinstance(piece, Delta)
            if (event := request.hear(piece, 0.0)) is not None:
                heard.append(event)
        if not request.over:
            request.fail(failure(Code.UNAVAILABLE), 0.0, 0.0)
    *deltas, final = heard
    assert isinstance(final, Final)
    assert [delta.offset for delta in deltas] == [
        sum(len(d.token_ids) for d in deltas[:n]) for n in range(len(deltas))
    ]
    assert [id for delta in deltas for id in delta.token_ids] == IDS
    assert [s for delta in deltas for s in delta.speakers] == SPEAKERS
    assert "".join(delta.text for delta in deltas) == FULL
