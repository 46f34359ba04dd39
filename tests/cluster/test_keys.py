"""`ringroad keys`: a key is shown once, its hash is kept, and gateways that run hear of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ringroad.actors.gateway.keys import FileKeys, Scope, Unauthenticated, read
from ringroad.cluster.keys import app


def run(*words: str, file: Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*words, "--file", str(file)])
    assert done.exit_code == code, done.output
    return done.output.strip()


def test_a_new_key_is_shown_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.toml"
    token = run("new", "acme", "--scope", "generate", "--scope", "control", "--days", "30", file=file)
    keys = FileKeys(file)
    assert keys.tenant(f"Bearer {token}", Scope.CONTROL).name == "acme"
    assert token not in file.read_text()
    assert token.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    other = run("new", "globex", file=file)
    assert keys.tenant(f"Bearer {other}", Scope.GENERATE).name == "globex"
    shown = run("list", file=file).splitlines()
    assert [line.split()[1] for line in shown] == ["acme", "globex"]
    assert "control,generate" in shown[0]
    assert "until" in shown[0]


def test_a_key_is_revoked_and_all_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("# ours\n[tenants.acme]\nweight = 2.0\n")
    token, other = run("new", "acme", file=file), run("new", "acme", file=file)
    keys = FileKeys(file)
    keys.tenant(f"Bearer {token}", Scope.GENERATE)
    for _ in range(2):
        run("revoke", token.split("_")[1], file=file)
    with pytest.raises(Unauthenticated):
        keys.tenant(f"Bearer {token}", Scope.GENERATE)
    assert keys.tenant(f"Bearer {other}", Scope.GENERATE).weight == 2.0
    assert file.read_text().startswith("# ours\n")
    assert run("list", file=file).splitlines()[0].endswith("revoked")


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    assert "no key 00000000" in run("revoke", "00000000", file=file, code=1)
    assert "tenant" in run("new", "no/name", file=file, code=1)
    assert not file.exists()
    file.write_text("keys = [{id = '00000000', hash = '%s', tenant = 'a'}]\n" % ("0" * 64))
    before = file.read_text()
    assert "by hand" in run("revoke", "00000000", file=file, code=1)
    assert "TOML" in run("new", "acme", file=file, code=1)  # an array cannot be added to
    assert file.read_text() == before
    file.write_text("secret")
    assert "secret" not in run("list", file=file, code=1).replace(str(file), "")
    assert not read_or_none(file)


def read_or_none(file: Path) -> bool:
    try:
        read(file)
    except ValueError:
        return False
    return True
