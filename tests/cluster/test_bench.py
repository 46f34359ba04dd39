"""`ringroad bench ring`: a model's costs on GPUs that need not be there."""

import pytest
from typer.testing import CliRunner, Result

from ringroad.cluster.cli import main
from ringroad.cluster.simulator import LINKS, MODELS, Setup, read, simulate


def ring(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "ring", *arguments], env={"COLUMNS": "160"})


@pytest.mark.parametrize("model", MODELS)
def test_nvlink_hides_what_moves_at_128k_tokens(model: str) -> None:
    assert simulate(Setup(model=model)).hidden >= 0.8


def test_a_slower_link_hides_less_and_takes_longer() -> None:
    runs = [simulate(Setup(link=link, model="llama-2-7b")) for link in LINKS]
    assert [run.hidden for run in runs] == sorted((run.hidden for run in runs), reverse=True)
    assert [run.prefill for run in runs] == sorted(run.prefill for run in runs)
    assert runs[-1].hidden < 0.8


def test_figures_by_pencil() -> None:
    run = simulate(Setup(tokens=1024**2, gpus=8, weights="fp8", gpu="h200"))
    position = 80 * 2 * 8 * 128 * 2  # layers, keys and values, heads, dim, bytes
    assert run.keys == 1024**2 // 8 * position
    assert run.weights == 72.7e9
    assert run.fits
    assert not simulate(Setup(weights="bf16")).fits
    # Keys go to seven others, as many as there are after every chunk, if all of it is done by pass_kv.
    assert run.schedules == {"pass_kv": 32}
    assert run.bytes == pytest.approx(7 / 8 * position * sum(range(32768, 1024**2 + 1, 32768)), rel=1e-3)
    # Half of a pair's products are masked out; 989e12 a second at half their rate, on 8 GPUs.
    attention = 80 * 4 * 64 * 128 * 2**40 / 2 / (8 * 989e12 * 0.5)
    assert run.attention == pytest.approx(attention, rel=0.01)
    assert run.prefill - run.attention == pytest.approx(2 * 72.7e9 * 2**20 / 8 / (989e12 * 0.6), rel=1e-6)


def test_a_whole_text_is_told() -> None:
    result = ring("--simulate", "gpus=8", "link=nvlink", "model=qwen2.5-72b", "tokens=1M")
    assert result.exit_code == 0
    for word in ("qwen2.5-72b, 1,048,576 tokens, 8 x h100", "42.95 GB", "pass_kv 32", "too little"):
        assert word in result.output


def test_schedules_are_compared_and_one_is_picked_for_each_shape() -> None:
    result = ring("--explain", "model=llama-2-7b", "tokens=64k")
    assert result.exit_code == 0
    picked = [line.split("│")[1:3] for line in result.output.splitlines() if "picked" in line]
    assert [step.strip() for step, _ in picked] == [
        "first 32,768 rows",
        "last 32,768 rows",
        "last 8",
        "last 1",
    ]
    assert [schedule.strip() for _, schedule in picked][2:] == ["pass_q", "pass_q"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("gpu=x", "no gpu 'x': one of a100"),
        ("speed=3", "no setting 'speed': one of gpus, tokens, link"),
        ("gpus=0", "gpus is a whole number from 1 on"),
        ("tokens=k", "tokens is a whole number"),
        ("tokens=", "tokens is a whole number"),
        ("model", "no model ''"),
    ],
)
def test_what_is_not_known_is_refused_by_name(word: str, says: str) -> None:
    result = ring("--simulate", word)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", "").split())
    with pytest.raises(ValueError, match=says):
        read([word])


def test_one_of_the_two_is_asked_for() -> None:
    assert ring().exit_code == 2
