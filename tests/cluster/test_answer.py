"""What events amount to."""

import pytest

from ringroad.cluster.answer import Answer, Figures
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import Usage
from tests.cluster.fakes import HELLO, STOP, final


def test_an_answer_gathers_its_events() -> None:
    answer = Answer()
    assert not answer.whole
    for event in (*(piece.delta for piece in HELLO), STOP.final):
        answer.add(event)
    assert answer.text == "Hello 世界\n"
    assert answer.token_ids == [1, 2, 3, 4]
    assert answer.speakers == ["small_kept", "small_accepted", "large", "small_kept"]
    assert answer.finish_reason == "stop"
    assert answer.whole


@pytest.mark.parametrize(
    ("reason", "whole"), [("stop", True), ("length", True), ("cancelled", False), ("error", False)]
)
def test_finish_reasons_go_by_name(reason: str, whole: bool) -> None:
    answer = Answer()
    answer.add(final(inference_pb2.FinishReason.Value(f"FINISH_REASON_{reason.upper()}"), "why").final)
    assert (answer.finish_reason, answer.whole, answer.error) == (reason, whole, "why")


def test_figures_are_of_all_texts_together() -> None:
    one = Usage(completion_tokens=10, accepted_tokens=6, consults=4, large_tokens=4, total_seconds=1)
    two = Usage(completion_tokens=30, accepted_tokens=6, consults=2, large_tokens=1, total_seconds=3)
    one.time_to_first_token_seconds, two.time_to_first_token_seconds = 0.25, 0.75
    assert Figures.of([one, two]) == Figures(10.0, 0.5, 2.0, 0.15, 0.125)
    assert Figures.of([]) == Figures.of([Usage()]) == Figures(0, 0, 0, 0, 0)


def test_a_stream_without_a_final_is_no_whole_answer() -> None:
    answer = Answer()
    for piece in HELLO:
        answer.add(piece.delta)
    assert (answer.finish_reason, answer.whole) == ("error", False)
    assert answer.error
