"""The command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from typer.testing import CliRunner, Result

from ringroad.cluster.cli import main
from ringroad.cluster.wire import generate_request, user
from ringroad.v1 import inference_pb2
from tests.cluster.fakes import HELLO, LENGTH, NOBODY, USAGE, FakeGateway, final, plain, refuses, says

TEXT = "Hello 世界\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RINGROAD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


def ringroad(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def generate(gateway: FakeGateway, *arguments: str, stdin: str | bytes | None = None) -> Result:
    return ringroad("generate", "--target", gateway.target, *arguments, stdin=stdin)


def test_the_text_alone_goes_to_standard_output_and_its_figures_to_the_other(gateway: FakeGateway) -> None:
    result = generate(gateway, "hi")
    assert (result.exit_code, result.stdout) == (0, TEXT)
    assert result.stderr == (
        "4 tokens (stop), 8.0 tokens/s, first token after 0.25 s, 2.00 accepted per consult, "
        f"0.25 consults per token, 25% by the large model, seed {2**64 - 1}, without drafter\n"
    )


def test_json_is_one_object_of_exactly_five_keys(gateway: FakeGateway) -> None:
    result = generate(gateway, "--json", "hi")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "text": TEXT,
        "token_ids": [1, 2, 3, 4],
        "speakers": ["small_kept", "small_accepted", "large", "small_kept"],
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "drafted_tokens": 6,
            "accepted_tokens": 2,
            "consults": 1,
            "small_tokens": 3,
            "large_tokens": 1,
            "time_to_first_token_seconds": 0.25,
            "total_seconds": 0.5,
            "seed": 2**64 - 1,
            "degraded": ["drafter"],
            "fallback_tokens": 0,
        },
    }
    assert list(json.loads(result.stdout)) == ["text", "token_ids", "speakers", "finish_reason", "usage"]
    assert set(json.loads(result.stdout)["usage"]) == set(USAGE.DESCRIPTOR.fields_by_name)


def test_a_prompt_is_a_users_message_unless_raw(gateway: FakeGateway) -> None:
    generate(gateway, "hi")
    generate(gateway, "--raw", "hi")
    asked = [plain(request, seed=False) for request in gateway.requests]
    assert asked == [generate_request(user("hi")), generate_request("hi")]


def test_every_option_reaches_the_request(gateway: FakeGateway) -> None:
    options = "--model pair --mode routed --seed 7 --max-tokens 8 --temperature 0.5 --top-k 9 --top-p 0.25"
    more = "--min-p 0.125 --draft-tokens 3 --policy margin --threshold 0.75 --stop a --stop b --timeout 500"
    assert generate(gateway, *options.split(), *more.split(), "hi").exit_code == 0
    asked: Any = {"model": "pair", "mode": "routed", "seed": 7, "max_tokens": 8, "temperature": 0.5}
    asked |= {"top_k": 9, "top_p": 0.25, "min_p": 0.125, "draft_tokens": 3, "policy": "margin"}
    whole = generate_request(user("hi"), threshold=0.75, stop=["a", "b"], **asked)
    assert [plain(request) for request in gateway.requests] == [whole]
    assert generate(gateway, "--mode", "routed", "--large-share", "0.25", "hi").exit_code == 0
    asked = generate_request(user("hi"), mode="routed", large_share=0.25)
    assert plain(gateway.requests[1], seed=False) == asked
    assert gateway.deadlines[0] == pytest.approx(500, abs=60)


def test_a_dash_reads_the_prompt_from_standard_input(gateway: FakeGateway) -> None:
    assert generate(gateway, "-", stdin=TEXT * 2).exit_code == 0
    assert plain(gateway.requests[0], seed=False) == generate_request(user(TEXT * 2))
    wrong = generate(gateway, "-", stdin=b"\xff")
    assert (wrong.exit_code, wrong.stderr) == (2, "ringroad: standard input is not UTF-8\n")


def test_the_end_by_length_is_a_success(gateway: FakeGateway) -> None:
    gateway.script = says(*HELLO, LENGTH)
    assert json.loads(generate(gateway, "--json", "hi").stdout)["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.UNAVAILABLE, 3),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 4),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 5),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.ALREADY_EXISTS, 1),
    ],
)
def test_each_status_has_its_exit_code(gateway: FakeGateway, status: grpc.StatusCode, code: int) -> None:
    gateway.script = refuses(status, "because")
    result = generate(gateway, "hi")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == f"ringroad: {gateway.target}: because\n"


def test_a_refused_field_is_named(gateway: FakeGateway) -> None:
    gateway.script = refuses(grpc.StatusCode.INVALID_ARGUMENT, "no", sampling__top_p="must be at most 1")
    assert "sampling.top_p: must be at most 1\n" in generate(gateway, "hi").stderr


def test_past_the_deadline_the_exit_code_is_4(gateway: FakeGateway) -> None:
    gateway.script = gateway.hold
    assert generate(gateway, "--timeout", "0.3", "hi").exit_code == 4


@pytest.mark.parametrize("arguments", [[], ["--mode", "quick", "hi"], ["--seed", "-1", "hi"]])
def test_wrong_usage_is_2_and_asks_nothing(gateway: FakeGateway, arguments: list[str]) -> None:
    assert generate(gateway, *arguments).exit_code == 2
    assert generate(gateway, "--seed", str(2**64), "hi").exit_code == 2
    assert gateway.requests == []


def test_nobody_there_is_3() -> None:
    result = ringroad("generate", "--target", NOBODY, "hi")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"ringroad: {NOBODY}: ")


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("reason", "name"),
    [(inference_pb2.FINISH_REASON_ERROR, "error"), (inference_pb2.FINISH_REASON_CANCELLED, "cancelled")],
)
def test_a_text_cut_short_is_shown_and_is_1(
    gateway: FakeGateway, as_json: bool, reason: inference_pb2.FinishReason.ValueType, name: str
) -> None:
    gateway.script = says(*HELLO, final(reason, "verifier lost" if name == "error" else ""))
    result = generate(gateway, *(["--json"] if as_json else []), "hi")
    assert result.exit_code == 1
    assert (json.loads(result.stdout)["finish_reason"] if as_json else result.stdout) == (
        name if as_json else TEXT
    )
    assert result.stderr.endswith("ringroad: verifier lost\n" if name == "error" else "ringroad: cancelled\n")


def test_without_a_target_the_running_cluster_is_asked(gateway: FakeGateway, state: Path) -> None:
    me = psutil.Process()
    state.mkdir()
    record = {"pid": me.pid, "started": me.create_time(), "target": gateway.target}
    (state / "cluster.json").write_text(json.dumps(record))
    assert ringroad("generate", "hi").stdout == TEXT


def test_models_are_the_models_rooms_own_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RINGROAD_CACHE", str(tmp_path))
    assert "pull" in ringroad("models", "--help").stdout
    assert "smollm2-135m" in ringroad("models", "list").stdout
    missing = ringroad("models", "path", "smollm2-135m")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "not cached" in missing.stderr
