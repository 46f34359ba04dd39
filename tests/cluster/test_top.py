"""`ringroad top`: what two looks at a gateway say together."""

from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ringroad.cluster.cli import main
from ringroad.cluster.client import Client
from ringroad.cluster.top import Look, Role, curve, look, view
from tests.cluster.fakes import NOBODY, FakeGateway

BEFORE = Look(
    10.0, "1.2", "there", 1, 0, 32, 0.0, 0.0, 0.1, 0, 100, 40, 30, 60, 50,
    {"verifier 0": Role("verifier", "big", 1, 10**6, 32, 1000, 100, 10.0, 500)},
)  # fmt: skip
NOW = Look(
    12.0, "1.2", "there", 3, 2, 32, 1.5, 42.5, 0.25, 2, 200, 60, 90, 140, 75,
    {
        "verifier 0": Role("verifier", "big", 3, 2 * 10**6, 64, 1000, 140, 12.0, 700),
        "drafter 1": Role("drafter", "", 3, 10**6, 0, 0, 7, 1.0, 9),
    },
)  # fmt: skip


def shown(before: Look, now: Look, rates: list[float]) -> str:
    out = StringIO()
    Console(file=out, width=120, highlight=False, markup=False).print(view("a:1", before, now, rates))
    return " ".join(out.getvalue().split())


def test_what_is_now_and_what_was_done_between_two_looks() -> None:
    text = shown(BEFORE, NOW, [10.0, 42.5])
    assert "3 of 32 running, 2 waiting, a place in 1.5 s" in text
    assert "42.5/s large 20%" in text  # 20 of 100
    assert "accepted 75% tokens a consult 4.0 waiting for a verdict 2" in text  # 60 of 80; 100 by 25
    assert "25% of the fullest" in text
    assert "verifier 0 │ big │ 3 │ 20.0 │ 50.0 │ 5.0 │ 64 of 1,000 │ 2 MB" in text
    assert "drafter 1 │ │ 3 │ 0.0 │ - │ - │ - │ 1 MB" in text


def test_counts_that_began_again_are_no_negative_rates() -> None:
    again = NOW._replace(roles={"verifier 0": Role("verifier", "big", 0, 10**6, 0, 1000, 3, 0.1, 9)})
    assert "verifier 0 │ big │ 0 │ 0.0 │ - │ - │ 0 of 1,000 │ 1 MB" in shown(BEFORE, again, [])


@pytest.mark.parametrize(
    ("rates", "bars"), [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, 5.0, 10.0], "▁▅█"), ([7.0], "█")]
)
def test_the_curve_is_as_high_as_the_highest_rate(rates: list[float], bars: str) -> None:
    assert curve(rates) == bars


def test_once_shows_a_gateway_and_ends() -> None:
    with FakeGateway() as gateway, Client(gateway.target) as client:
        assert look(client).committed == 99
        result = CliRunner().invoke(main, ["top", "--target", gateway.target, "--once", "--every", "0.01"])
    assert result.exit_code == 0, result.output
    assert "1 of 32 running, 2 waiting" in result.stdout
    assert "verifier 0" in result.stdout


def test_without_a_gateway_it_says_so() -> None:
    result = CliRunner().invoke(main, ["top", "--target", NOBODY, "--once"])
    assert result.exit_code == 3
    assert NOBODY in result.stderr
