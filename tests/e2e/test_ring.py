"""A ring of two ranks in a real cluster: its text is one rank's, and losing a rank costs a pause."""

import ipaddress
import signal
import threading
from collections.abc import Iterator

import psutil
import pytest
import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.messages import Sampling
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.client import Client, Delta, user
from ringroad.cluster.models import locate
from tests.e2e.clusters import Cluster, Text, running

MODEL = "smollm2-135m"
TOKENS = 40
RING = """
prefill_chunk = 256
[verifier.ring]
ranks = 2
min_tokens = 200
cores = [[0], [1]]
timeout_seconds = 3
"""
READING = 0.3  # seconds that a rank has computed when it reads; a whole prompt takes it several times as long
LINE = "The {} bridge was built in the year {} and carries {} trains a day. "
STORY = "".join(
    LINE.format(*each) for each in zip(range(60), range(1800, 1860), range(7, 127, 2), strict=True)
)


def prompt(name: str) -> str:
    """A long one that begins like no other, so that nothing of it is cached."""
    return f"A text for {name}. {STORY}\nWhat does the text above list?"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("ring"), MODEL, "", "fp32", RING) as up:
        yield up


class Alone:
    """One engine in this process."""

    def __init__(self) -> None:
        self._engine = Engine(Model(open_weights(locate(MODEL)), "fp32", threads=torch.get_num_threads()))
        self._tokenizer = Tokenizer.open(locate(MODEL))

    def says(self, name: str) -> list[int]:
        new = self._tokenizer.encode_chat([{"role": "user", "content": prompt(name)}])
        self._engine.open("a", Sampling())
        said: list[int] = []
        while len(said) < TOKENS:
            new = self._engine.step([Work("a", new)])[0].tokens
            said += new
            if new[0] in self._tokenizer.ends:
                break
        return said


@pytest.fixture(scope="module")
def alone() -> Alone:
    return Alone()


def listening(process: psutil.Process) -> list[str]:
    """Where a process can be connected to."""
    found = process.net_connections("inet")
    return [each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN]


def ranks(cluster: Cluster) -> list[psutil.Process]:
    """The processes of the verifier, the first rank first: others have to find it."""
    found = [p for p in cluster.family.alive() if ":verifier" in " ".join(p.cmdline())]
    return sorted(found, key=lambda p: -len(listening(p)))


def computed(process: psutil.Process) -> float:
    """Seconds that a process has computed."""
    times = process.cpu_times()
    return times.user + times.system


def test_everything_listens_on_loopback(cluster: Cluster) -> None:
    found = [address for process in cluster.family.alive() for address in listening(process)]
    assert found
    assert [at for at in found if not ipaddress.ip_address(at.removeprefix("::ffff:")).is_loopback] == []


def generate(cluster: Cluster, name: str, mode: str = "large") -> Text:
    return cluster.generate(prompt(name), mode=mode, temperature=0.0, max_tokens=TOKENS, timeout=200)


@pytest.mark.parametrize("mode", ["large", "speculative"])
def test_the_text_is_that_of_one_rank(cluster: Cluster, alone: Alone, mode: str) -> None:
    assert generate(cluster, mode, mode).ids == alone.says(mode)


def test_a_short_text_is_served_beside_a_long_one(cluster: Cluster, alone: Alone) -> None:
    found: list[Text] = []
    long = threading.Thread(target=lambda: found.append(generate(cluster, "two")))
    long.start()
    short = cluster.generate("Say hello.", mode="large", max_tokens=12)
    long.join()
    assert len(short.ids) == 12 or short.finish == "STOP"
    assert found[0].ids == alone.says("two")


@pytest.mark.parametrize(
    ("number", "which", "spoken"),
    [(signal.SIGKILL, 1, 0), (signal.SIGKILL, 0, 5), (signal.SIGSTOP, 1, 5)],
    ids=["killed while it reads", "killed while it speaks", "stopped while it speaks"],
)
def test_a_lost_rank_costs_a_pause(
    cluster: Cluster, alone: Alone, number: int, which: int, spoken: int, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    before, said = ranks(cluster), 0
    assert len(before) == 2
    assert len(listening(before[0])) > len(listening(before[1]))
    got: list[int] = []
    there: list[int] = []  # tokens when the signal was sent to a rank that reads
    over = threading.Event()
    idle = computed(before[which])

    def in_the_prompt() -> None:
        while computed(before[which]) < idle + READING and not over.wait(0.01):
            pass
        there.append(len(got))
        before[which].send_signal(number)

    with Client(cluster.target) as client:
        if not spoken:
            threading.Thread(target=in_the_prompt).start()
        for event in client.generate(
            user(prompt(name)), timeout=200, mode="large", temperature=0.0, max_tokens=TOKENS
        ):
            if not isinstance(event, Delta):
                break
            got += event.token_ids
            if said < spoken <= len(got):
                before[which].send_signal(number)
            said = len(got)
    over.set()
    assert there == ([] if spoken else [0])
    assert got == alone.says(name)
    # All begin anew, and nobody of the old ring is left.
    assert not {p.pid for p in ranks(cluster)} & {p.pid for p in before}
