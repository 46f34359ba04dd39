"""`ringroad router`, as far as it goes without models."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ringroad.cluster.heads import SHIPPED
from ringroad.cluster.training import cli, tasks


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--judge-url", "http://127.0.0.1:1/v1"], "--judge-model"),
        (["--judge-model", "m"], "--judge-url"),
        (["--judge-key", "HOME"], "--judge-key HOME"),
        (["--judge-url", "u", "--judge-model", "m", "--judge-key", "NO_SUCH_KEY"], "NO_SUCH_KEY"),
        (["--talk", "97"], "--talk"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(options: list[str], named: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["train", str(tmp_path), *options], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert named in result.output
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    result = CliRunner().invoke(cli.app, ["train", str(tmp_path)])
    assert result.exit_code == 1
    assert "ringroad[train]" in result.output


def test_what_is_no_head_is_shown_as_such(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"nothing of the kind")
    result = CliRunner().invoke(cli.app, ["show", str(path)])
    assert result.exit_code == 1
    assert "head.safetensors" in result.output


def test_the_shipped_head_says_whose_it_is() -> None:
    (path,) = SHIPPED.glob("*.safetensors")
    result = CliRunner().invoke(cli.app, ["show", str(path)])
    assert result.exit_code == 0
    assert "qwen2.5-coder-0.5b" in result.output
