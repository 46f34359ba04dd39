"""An engine on the kernels themselves: the tokens of plain torch, and steps that a CUDA graph can hold."""

import pytest
import torch

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.paged import Paged
from ringroad.actors.messages import Sampling
from ringroad.kernels.triton.graphs import Recorded
from ringroad.kernels.triton.select import tritons
from tests.engine.tiny import SHAPE, TinyWeights, bits, prompt, tiny
from tests.kernels.tape import Tape, Tapes

SAMPLINGS = [Sampling(), Sampling(1, 1.0), Sampling(2, 0.8, top_k=9, top_p=0.9)]
ROOM = 10**6  # bytes: the interpreter copies all of a pool at a launch
STEPS = [
    [Work("0", prompt(66, 1)), Work("1", prompt(3, 2)), Work("2", prompt(2, 3))],
    [Work("0", [5]), Work("1", [6], features=True, siblings=3), Work("2", [7], successors=2)],
    [Work("2", [8]), Work("0", [9], siblings=2), Work("1", [10])],
    [Work("1", [11, 12, 13, 14], [-1, 0, 0, 2], answers=4, siblings=2), Work("2", [15], answers=0)],
    [Work("1", [16, 17, 18], [-1, -1, 1], answers=3), Work("0", [19, 20], answers=2)],
]


Stepped = tuple[list[list[Outcome]], list[torch.Tensor]]


def stepped(model: Model) -> Stepped:
    """What all steps say, and what is kept in the end."""
    engine = Engine(model, cache_bytes=ROOM)
    for name, sampling in enumerate(SAMPLINGS):
        engine.open(str(name), sampling)
    said = [engine.step(works) for works in STEPS[:4]]
    engine.keep("1", [0, 2])
    said.append(engine.step(STEPS[4]))
    return said, [bits(engine._sessions[str(name)].cache) for name in range(len(SAMPLINGS))]


def interpreted() -> Model:
    return Model(TinyWeights(), "fp32", threads=1, kernels=tritons())


@pytest.fixture(scope="module")
def ran() -> Stepped:
    return stepped(interpreted())


def test_the_tokens_of_plain_torch(ran: Stepped) -> None:
    said, kept = ran
    expected, theirs = stepped(tiny("fp32"))
    for ours, others in zip(said, expected, strict=True):
        for mine, other in zip(ours, others, strict=True):
            assert mine.tokens == other.tokens
            assert mine.successors == other.successors
            for beside, twin in zip(mine.siblings, other.siblings, strict=True):
                assert [token for token, _ in beside] == [token for token, _ in twin]
    for our_bits, their_bits in zip(kept, theirs, strict=True):
        torch.testing.assert_close(our_bits, their_bits, rtol=1e-4, atol=1e-4)


def test_a_replayed_step_has_the_bits_of_one_that_runs(ran: Stepped) -> None:
    """Nothing of the step that was recorded is left in a recording: no length, no token, no tree."""
    tapes = Tapes()
    model = interpreted()
    assert model._paged is not None
    model._paged = Paged(model._paged._decoder, tapes)
    said, kept = stepped(model)
    expected, theirs = ran
    assert said == expected
    assert all(torch.equal(ours, others) for ours, others in zip(kept, theirs, strict=True))
    assert len(tapes.made) < tapes.replays
    # In a layer two norms, heads and attention, whatever the batch; then the last norm.
    assert all(tape.launches == 4 * SHAPE.layers + 1 for tape in tapes.made)


def test_a_tape_notices_what_is_left_in_a_recording() -> None:
    step = Recorded(lambda numbers: (numbers * 2 + numbers.tolist()[0],), Tapes())
    assert step(torch.tensor([2.0]))[0].tolist() == [6.0]
    assert step(torch.tensor([3.0]))[0].tolist() == [8.0]  # 9 if it ran again


def test_a_tape_refuses_what_waits_for_the_gpu() -> None:
    with pytest.raises(AssertionError, match="wait"), Tape().running():
        torch.ones(1).item()
