"""Whether a mismatch matters, by rules, and by a model behind an endpoint."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ringroad.cluster.training.judges import JudgeFailed, ModelJudge, plain
from ringroad.cluster.training.tasks import Task

SUM = Task("gsm8k/1", "How many apples?", "exact", "12")
MINUS = Task("chain_sum/1", "What is it?", "exact", "-1,234.5")
WORD = Task("game/1", "Yes or no?", "exact", "yes")
CODE = Task("human-eval/1", "Complete it", "tests", "check(f)")
TALK = Task("talk/1", "Tell me", "none")


@pytest.mark.parametrize(
    ("task", "large", "small", "differs"),
    [
        (SUM, "so 12 apples", "that is 12", False),
        (SUM, "so 12 apples", "so 13 apples", True),
        (MINUS, "so 5", "so many 5 things", False),
        (MINUS, "so 5", "so 6", True),
        (WORD, "it is 5 yes", "it is 6 yes", False),
        (WORD, "yes it is", "no never", True),
        (CODE, "return a", "return a  # b", False),
        (CODE, "return a + b + c + d", "return a + b + c - d", True),
        (TALK, "The moon is bright", "The moon is so bright", False),
        (TALK, "The moon is bright", "Cats sleep", True),
    ],
)
def test_rules_look_at_what_a_task_is_about(task: Task, large: str, small: str, differs: bool) -> None:
    assert plain(task, large, small) is differs


class Endpoint(ThreadingHTTPServer):
    """Says what it is told to, and keeps what it was asked."""

    status, body = 200, b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def says(self, content: object) -> None:
        self.body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()


class Asked(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"  # keeps connections, if asked to

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), asked))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("content", "differs"),
    [("SAME", False), ("DIFFERENT", True), (" different.\n", True), ("Same, I think", False)],
)
def test_a_models_word_decides(endpoint: Endpoint, content: str, differs: bool) -> None:
    endpoint.says(content)
    judge = ModelJudge(endpoint.url, "judge")
    assert judge(SUM, "so 1", "so 2") is differs


def test_what_a_model_is_asked(endpoint: Endpoint) -> None:
    endpoint.says("SAME")
    judge = ModelJudge(f"{endpoint.url}/", "some/judge", "a key")
    judge(SUM, "then 3 {question}", "then 4")
    ((path, headers, asked),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer a key"
    assert asked["model"] == "some/judge"
    assert asked["temperature"] == 0
    (message,) = asked["messages"]  # type: ignore[misc]
    assert message["role"] == "user"
    places = [message["content"].index(part) for part in ("How many apples?", "then 3 {question}", "then 4")]
    assert places == sorted(places)


def test_without_a_key_none_is_sent(endpoint: Endpoint) -> None:
    endpoint.says("SAME")
    judge = ModelJudge(endpoint.url, "judge")
    judge(SUM, "a", "b")
    assert "Authorization" not in endpoint.asked[0][1]


@pytest.mark.parametrize("content", ["I cannot tell", "", None, 7, "THE SAME"])
def test_no_verdict_is_none(endpoint: Endpoint, content: object) -> None:
    endpoint.says(content)
    with pytest.raises(JudgeFailed, match="in place of SAME or DIFFERENT"):
        ModelJudge(endpoint.url, "judge")(SUM, "a", "b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SAME",
        b"\xff\xfe\xfa",
        b"[]",
        b"7",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": {"message": 1}}',
        b'{"choices": [{"message": null}]}',
    ],
)
def test_an_answer_of_another_form_is_told(endpoint: Endpoint, body: bytes) -> None:
    endpoint.body = body
    with pytest.raises(JudgeFailed, match=endpoint.url):
        ModelJudge(endpoint.url, "judge")(SUM, "a", "b")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_refusal_is_told(endpoint: Endpoint, status: int) -> None:
    endpoint.says("SAME")
    endpoint.status = status
    with pytest.raises(JudgeFailed, match=str(status)):
        ModelJudge(endpoint.url, "judge")(SUM, "a", "b")


def test_nobody_there_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(JudgeFailed, match=url):
            ModelJudge(url, "judge", seconds=5)(SUM, "a", "b")


@pytest.mark.parametrize("url", ["no address at all", "ftp://127.0.0.1/v1"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(JudgeFailed, match="protocol"):
        ModelJudge(url, "judge")(SUM, "a", "b")


def test_one_judge_judges_many(endpoint: Endpoint) -> None:
    judge = ModelJudge(endpoint.url, "judge")
    for word in ("SAME", "DIFFERENT") * 5:
        endpoint.says(word)
        assert judge(SUM, "a", "b") is (word == "DIFFERENT")
    assert len(endpoint.asked) == 10
