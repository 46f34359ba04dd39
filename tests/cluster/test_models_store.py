"""Finding models on this machine, their errors, and the command line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ringroad.cluster.models import (
    CATALOGUE,
    Downloaders,
    Entry,
    HubFile,
    IndexParts,
    ModelError,
    ModelNotCached,
    NoSourceReachable,
    SourceFailed,
    UnknownModel,
    UnusableModel,
    cache_folder,
    cached,
    cli,
    locate,
    model_path,
    pull,
)
from ringroad.cluster.models.download import hub_file

TINY = Entry("tiny", "Tiny", "Apache-2.0", size=5, sha256="", sources=())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGROAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def make_folder(folder: Path, shards: int = 1) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "config.json").write_text("{}")
    names = [f"model-{i}.safetensors" for i in range(shards)]
    (folder / names[0]).write_bytes(b"")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(names))}))
    return folder


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("RINGROAD_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("RINGROAD_CACHE")
    assert cache_folder() == Path("/xdg/ringroad")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache/ringroad"


def test_locate_a_catalogue_name() -> None:
    catalogue = {"tiny": TINY}
    with pytest.raises(ModelNotCached, match="run `ringroad models pull tiny`"):
        locate("tiny", catalogue)
    assert cached(catalogue) == [(TINY, None)]
    path = model_path("tiny")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"whole")
    assert locate("tiny", catalogue) == path
    assert cached(catalogue) == [(TINY, path)]
    path.write_bytes(b"shor")
    with pytest.raises(ModelNotCached):
        locate("tiny", catalogue)


def test_locate_local_files_and_folders(tmp_path: Path) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"GGUF")
    assert locate(file) == file
    assert locate(str(make_folder(tmp_path / "folder"))) == tmp_path / "folder"


def test_locate_names_what_is_wrong(tmp_path: Path) -> None:
    text = tmp_path / "model.txt"
    text.write_text("")
    with pytest.raises(UnusableModel, match=r"model\.txt.* must end in \.gguf"):
        locate(text)
    with pytest.raises(UnusableModel, match=r"no config\.json"):
        locate(tmp_path)
    with pytest.raises(UnusableModel, match=r"lacks model-1\.safetensors, model-2\.safetensors"):
        locate(make_folder(tmp_path / "shards", shards=3))
    (tmp_path / "shards" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UnusableModel, match="not a safetensors index"):
        locate(tmp_path / "shards")
    for unknown in ("smollm", "models/absent.gguf", str(tmp_path / "absent")):
        with pytest.raises(UnknownModel, match="smollm2-135m"):
            locate(unknown)


def test_locate_looks_for_a_hub_id_in_the_cache_of_the_hub_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpx2.Client.send", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelNotCached, match="run `ringroad models pull org/name`"):
        locate("org/name")
    repository = tmp_path / "hub" / "models--org--name"
    snapshot = make_folder(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    assert locate("org/name") == snapshot


def test_a_hub_repository_is_pulled_as_it_is(tmp_path: Path) -> None:
    assert pull("org/name", download=Downloaders(repository=lambda _: make_folder(tmp_path))) == tmp_path


def test_what_cannot_be_pulled_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnusableModel, match="give its path"):
        pull("org/name/file.gguf")
    with pytest.raises(UnknownModel, match="unknown model 'smollm': neither a catalogue name"):
        pull("smollm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnusableModel, match=r"'org/ggufs': .* no \*\.safetensors; of a GGUF repository"):
        pull("org/ggufs", download=Downloaders(repository=lambda _: tmp_path))


@pytest.mark.parametrize(
    "call",
    [lambda: hub_file(HubFile("org/tiny-GGUF", "tiny.gguf"), Path("nowhere")), lambda: pull("org/name")],
)
def test_an_offline_hub_is_not_asked(
    call: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((SourceFailed, NoSourceReachable), match="HF_HUB_OFFLINE"):
        call()


def test_errors_survive_the_way_between_processes() -> None:
    errors: list[ModelError] = [
        UnknownModel("m", ("a", "b")),
        UnusableModel("m", "why"),
        ModelNotCached("m"),
        SourceFailed("why"),
        NoSourceReachable("m", (("index", "why"),)),
    ]
    for error in errors:
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_catalogue_is_sound() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert isinstance(entry.sources[0], IndexParts), "the index answers everywhere, so it comes first"
        assert all("==" in package for package in entry.sources[0].packages)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_cli_path(tmp_path: Path) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"GGUF")
    assert run("path", str(file)) == (0, f"{file}\n", "")
    code, out, err = run("path", "smollm2-135m")
    assert (code, out) == (1, "")
    assert err == "ringroad: model 'smollm2-135m' is not cached: run `ringroad models pull smollm2-135m`\n"


def test_cli_pull(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "pull_model", lambda name, progress: tmp_path / name)
    assert run("pull", "org")[:2] == (0, f"{tmp_path / 'org'}\n")
    assert run("pull", "smollm2-135m")[:2] == (0, f"{tmp_path / 'smollm2-135m'}\n")


def test_cli_failures_and_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run("pull", "nonsense")
    assert (code, out) == (1, "")
    assert err.startswith("ringroad: unknown model 'nonsense'")
    assert run("pull")[0] == 2
    assert run("path")[0] == 2
    assert run("push", "smollm2-135m")[0] == 2

    def full(name: str, progress: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "pull_model", full)
    code, _, err = run("pull", "smollm2-135m")
    assert code == 1
    assert "ringroad: [Errno 28] No space left on device\n" in err


def test_cli_list() -> None:
    code, out, _ = run("list")
    assert code == 0
    assert all(name in out for name in CATALOGUE)
    assert " yes " not in out
