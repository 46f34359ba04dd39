"""Which head serves a pair: found by fingerprint, refused before anything starts."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.engine.weights import fingerprint, open_weights
from ringroad.actors.head.card import Card, HeadError
from ringroad.actors.head.config import HeadConfig
from ringroad.actors.head.file import write
from ringroad.actors.router.config import PolicyConfig, RouterConfig
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.cluster import heads
from ringroad.cluster.config import ClusterConfig, ConfigError
from tests.kernels.heads import tensors

SMALL, LARGE = "smollm2-135m", "qwen2.5-coder-0.5b"  # any two: only their headers and norms are read


def config(path: str = "auto", policy: PolicyConfig | None = None, small: str = SMALL) -> ClusterConfig:
    return ClusterConfig(
        drafter=DrafterConfig(model=small, weights="int4"),
        verifier=VerifierConfig(model=LARGE),
        head=HeadConfig(path=path),
        router=RouterConfig(policy=policy or PolicyConfig()),
    )


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(heads, "SHIPPED", folder)
    return folder


@pytest.fixture
def card(model_file: Callable[[str], Path]) -> Card:
    small, large = (fingerprint(open_weights(model_file(name))) for name in (SMALL, LARGE))
    return Card(small=small, large=large, small_weights="int4", threshold=0.37)


def other() -> Card:
    return Card(small="0" * 16, large="1" * 16, small_weights="int4", threshold=0.9)


def test_the_shipped_head_of_the_pair_is_found(shipped: Path, card: Card) -> None:
    write(shipped / "a.safetensors", tensors(576), other())
    write(shipped / "b.safetensors", tensors(576), card)
    found = heads.with_head(config())
    assert found.head.path == "b.safetensors"
    assert heads.located("b.safetensors") == shipped / "b.safetensors"
    assert heads.card_of(found) == card
    assert heads.with_head(found) == found, "settled"


def test_without_one_there_is_none(shipped: Path) -> None:
    write(shipped / "a.safetensors", tensors(576), other())
    found = heads.with_head(config())
    assert found.head.path == ""
    assert heads.card_of(found) is None
    with pytest.raises(ConfigError, match=r"router\.policy: learned needs a head"):
        heads.with_head(config(policy=PolicyConfig(name="learned")))


def test_no_head_is_wanted(shipped: Path, card: Card) -> None:
    write(shipped / "b.safetensors", tensors(576), card)
    assert heads.with_head(config("")).head.path == ""


def test_a_head_of_another_pair_is_refused_with_all_fingerprints(tmp_path: Path, card: Card) -> None:
    path = tmp_path / "mine.safetensors"
    write(path, tensors(576), other())
    with pytest.raises(HeadError) as refused:
        heads.with_head(config(str(path)))
    for named in (other().small, other().large, card.small, card.large):
        assert named in str(refused.value)


def test_a_damaged_file_is_refused(tmp_path: Path, card: Card) -> None:
    path = tmp_path / "mine.safetensors"
    write(path, tensors(576), card)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HeadError, match=r"mine\.safetensors"):
        heads.with_head(config(str(path)))


def test_a_path_that_fits_is_taken(tmp_path: Path, card: Card) -> None:
    path = tmp_path / "mine.safetensors"
    write(path, tensors(576), card)
    assert heads.with_head(config(str(path))).head.path == str(path)


def test_the_heads_threshold_is_the_default_of_its_rule(shipped: Path, card: Card) -> None:
    write(shipped / "b.safetensors", tensors(576), card)
    found = heads.with_head(config(policy=PolicyConfig(name="learned")))
    assert found.router.policy.policy().threshold == 0.37
    kept = heads.with_head(config(policy=PolicyConfig(name="learned", threshold=0.6)))
    assert kept.router.policy.policy().threshold == 0.6


def test_without_a_small_model_a_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"head\.path"):
        heads.with_head(config("some.safetensors", small=""))
    assert heads.with_head(config(small="")).head.path == ""


def test_ringroad_up_refuses_the_head_of_another_pair(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    write(path, tensors(576), other())
    (tmp_path / "cluster.toml").write_text(
        f'[gateway]\nport = {free_port()}\n[drafter]\nmodel = "{SMALL}"\n[verifier]\nmodel = "{SMALL}"\n'
        f'[head]\npath = "{path}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "ringroad.cluster.cli", "up", "--config", tmp_path / "cluster.toml"],
        capture_output=True,
        text=True,
        env=os.environ | {"RINGROAD_STATE": str(tmp_path / "state")},
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"ringroad: {path}: trained for")
    assert len(done.stderr.splitlines()) == 1


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
