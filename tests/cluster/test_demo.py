"""The demonstration, with a scripted gateway in the cluster's place."""

import io
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.console import Console
from typer import Exit

from ringroad.actors.messages import Mode
from ringroad.cluster import daemon, demo
from ringroad.cluster.client import user
from ringroad.cluster.config import ClusterConfig
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import SPEAKER_LARGE, SPEAKER_SMALL_ACCEPTED, SPEAKER_SMALL_KEPT
from tests.cluster.fakes import STOP, FakeGateway, Request, Response, delta, final, refuses, says

WORDS = {1: b"k\xc3", 2: b"\xa4se", 3: b" [bold]"}


class Words:
    """A tokenizer of three tokens; the first ends within a character."""

    def bytes_of(self, id: int) -> bytes:
        return WORDS[id]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(spoken(3)) as gateway:
        yield gateway


@pytest.fixture
def stopped(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything but the gateway is pretended; says what was ended."""
    ended: list[str] = []
    port = int(gateway.target.rpartition(":")[2])
    settings = ClusterConfig.model_validate({"gateway": {"port": port}})
    monkeypatch.setattr(demo, "load_config", lambda path: settings)
    monkeypatch.setattr(demo, "locate", Path)
    monkeypatch.setattr(demo.Tokenizer, "open", lambda path: Words())
    monkeypatch.setattr(daemon, "start", lambda *_: subprocess.Popen(["true"]))
    monkeypatch.setattr(daemon, "stop", lambda: ended.append("cluster"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield ended
    for number, handler in handlers.items():
        signal.signal(number, handler)


def spoken(last: int) -> Any:
    """A text whose last token is 3, but in mode speculative what is given."""

    def script(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        token = last if request.mode == inference_pb2.MODE_SPECULATIVE else 3
        yield delta("k", (1, SPEAKER_SMALL_KEPT))
        yield delta("äse", (2, SPEAKER_SMALL_ACCEPTED), (token, SPEAKER_LARGE), offset=1)
        yield STOP

    return script


def shown(colours: bool = False) -> Console:
    system: Any = "standard" if colours else None
    return Console(
        file=io.StringIO(), width=120, force_terminal=colours, color_system=system, highlight=False
    )


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_prompt_is_spoken_in_every_mode_with_one_seed(gateway: FakeGateway, stopped: list[str]) -> None:
    console = shown()
    assert demo._run(None, console)
    asked = [request for request in gateway.requests if request.sampling.seed == demo.SEED]
    modes = ("LARGE", "SPECULATIVE", "ROUTED", "SMALL")
    assert [(request.chat, request.mode) for request in asked] == [
        (user(prompt), inference_pb2.Mode.Value(f"MODE_{mode}")) for prompt in demo.PROMPTS for mode in modes
    ]
    assert len({request.sampling.SerializeToString(deterministic=True) for request in asked}) == 1
    assert text_of(console).count("käse [bold]\n") == 12
    assert "the same text, token by token, for all 3 prompts" in text_of(console)
    assert stopped == ["cluster"]


def test_tokens_have_the_colour_of_their_speaker(gateway: FakeGateway, stopped: list[str]) -> None:
    console = shown(colours=True)
    demo._run(None, console)
    assert "\x1b[32mk\x1b[0m\x1b[36mäse\x1b[0m\x1b[35m [bold]\x1b[0m" in text_of(console)


def test_the_table_is_over_all_texts() -> None:
    answer = demo.Answer()
    answer.add(final(inference_pb2.FINISH_REASON_STOP).final)
    console = shown()
    console.print(demo.table({Mode.LARGE: [answer, answer], Mode.SMALL: []}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text_of(console).splitlines()]
    assert ["large", "8.0", "0.25 s", "2.00", "0.25", "25%"] in rows
    assert ["small", "0.0", "0.00 s", "0.00", "0.00", "0%"] in rows


def test_texts_that_differ_are_a_failure(gateway: FakeGateway, stopped: list[str]) -> None:
    gateway.script = spoken(2)
    with pytest.raises(Exit) as ended:
        demo.demo()
    assert ended.value.exit_code == 1
    assert stopped == ["cluster"]


def test_texts_cut_short_are_not_the_same(gateway: FakeGateway, stopped: list[str]) -> None:
    gateway.script = says(final(inference_pb2.FINISH_REASON_ERROR, "lost"))
    assert not demo._run(None, shown())


def test_a_failing_call_still_shuts_down(
    gateway: FakeGateway, stopped: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.script = refuses(grpc.StatusCode.UNAVAILABLE, "no verifier")
    with pytest.raises(Exit) as ended:
        demo.demo()
    assert ended.value.exit_code == 1
    assert "no verifier" in capsys.readouterr().out
    assert stopped == ["cluster"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_still_shuts_down(gateway: FakeGateway, stopped: list[str], number: int) -> None:
    def interrupting(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        signal.raise_signal(number)
        yield from gateway.hold(request, context)

    gateway.script = interrupting
    with pytest.raises(KeyboardInterrupt):
        demo.demo()
    assert stopped == ["cluster"]
    assert gateway.ended.wait(20)


def test_missing_models_are_pulled_first(
    gateway: FakeGateway, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled: list[str] = []

    def locate(model: str) -> Path:
        if model not in pulled:
            raise demo.ModelNotCached(model)
        return Path(model)

    monkeypatch.setattr(demo, "locate", locate)
    monkeypatch.setattr(demo, "pull", pulled.append)
    assert demo._run(None, shown())
    assert pulled == ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"]
