"""API keys: who is let in, who is not, and what is kept of a key."""

from pathlib import Path

import pytest

from ringroad.actors.gateway.keys import FileKeys, Forbidden, NoKeys, Scope, Unauthenticated, new
from ringroad.actors.gateway.tenants import ANYBODY
from tests.gateway.keyring import entry
from tests.gateway.keyring import expired as of_yesterday

BOTH = frozenset({Scope.GENERATE, Scope.ADMIN})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_a_key_tells_its_tenant_with_what_the_file_says_of_it(path: Path) -> None:
    token, key = new("acme", BOTH)
    path.write_text("[tenants.acme]\nweight = 3.0\nmax_streams = 2\n" + entry(key))
    tenant = FileKeys(path).tenant(f"Bearer {token}", Scope.ADMIN)
    assert (tenant.name, tenant.weight, tenant.max_streams) == ("acme", 3.0, 2)
    assert FileKeys(path).tenant(f"bearer {token}", Scope.GENERATE) == tenant


def test_a_scope_that_a_key_lacks_is_named(path: Path) -> None:
    token, key = new("acme", frozenset({Scope.GENERATE}))
    path.write_text(entry(key))
    with pytest.raises(Forbidden, match="admin"):
        FileKeys(path).tenant(f"Bearer {token}", Scope.ADMIN)


def test_nobody_else_is_let_in_and_none_is_told_why(path: Path) -> None:
    token, key = new("acme", BOTH)
    old, expired = of_yesterday()
    gone, revoked = new("acme", BOTH)
    path.write_text(entry(key) + entry(expired) + entry(revoked, revoked=True))
    keys = FileKeys(path)
    keys.tenant(f"Bearer {token}", Scope.GENERATE)
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer ",
        token,
        f"Basic {token}",
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
    ]
    wrong += [f"Bearer {old}", f"Bearer {gone}", f"Bearer {new('acme', BOTH)[0]}", f"Bearer {key.hash}"]
    wrong += [f"Bearer rr_{key.id}_", "Bearer \udcff", f"Bearer {token[:12]}{old[12:]}"]
    for authorization in wrong:
        with pytest.raises(Unauthenticated) as caught:
            keys.tenant(authorization, Scope.GENERATE)
        assert str(caught.value) == "a valid API key is needed"


def test_the_file_holds_nothing_that_lets_in(path: Path) -> None:
    token, key = new("acme", BOTH)
    path.write_text(entry(key))
    secret = token.split("_", 2)[2]
    assert len(secret) >= 43
    assert secret not in path.read_text()
    assert new("acme", BOTH)[0] != token


def test_a_file_that_changes_is_read_again_and_a_damaged_one_changes_nothing(path: Path) -> None:
    first, key = new("acme", BOTH)
    path.write_text(entry(key))
    keys = FileKeys(path)
    second, added = new("globex", BOTH)
    path.write_text(entry(key) + entry(added))
    assert keys.tenant(f"Bearer {second}", Scope.GENERATE).name == "globex"
    path.write_text("[[keys]]\nid = ")
    assert keys.tenant(f"Bearer {first}", Scope.GENERATE).name == "acme"
    path.unlink()
    assert keys.tenant(f"Bearer {first}", Scope.GENERATE).name == "acme"
    path.write_text(entry(key, revoked=True) + entry(added))
    with pytest.raises(Unauthenticated):
        keys.tenant(f"Bearer {first}", Scope.GENERATE)
    assert keys.tenant(f"Bearer {second}", Scope.GENERATE).name == "globex"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[keys]]\nid = 'secret'", r"keys\.0\.id"),
        ("[[keys]]\nsecret = 'secret'", r"keys\.0\.secret"),
        ("[tenants.acme]\nspeed = 'secret'", r"tenants\.acme\.speed"),
        ("[tenants.acme]\nname = 'other'", "another name"),
        (entry(new("a", BOTH)[1]) * 2, "same id"),
        ("secret", "no TOML"),
    ],
)
def test_a_gateway_does_not_start_with_keys_it_cannot_read(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        FileKeys(path)
    assert "'secret'" not in str(caught.value)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ValueError, match=r"keys\.toml: No such file"):
        FileKeys(path)


def test_without_keys_everybody_may_do_everything() -> None:
    assert NoKeys().tenant(None, Scope.ADMIN) is ANYBODY
