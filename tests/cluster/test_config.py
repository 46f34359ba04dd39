"""The configuration: read once, every wrong key named, and a pair that does not match refused."""

from pathlib import Path

import pytest

from ringroad.cluster.config import ClusterConfig, ConfigError, load_config
from ringroad.cluster.roles import check_models

LOCAL = Path(__file__).parents[2] / "deploy/local.toml"


def test_the_shipped_file_is_the_default_and_speaks_http() -> None:
    shipped, default = load_config(LOCAL), ClusterConfig()
    assert shipped.gateway.http_port == 8080
    silent = shipped.gateway.model_copy(update={"http_port": None})
    assert shipped.model_copy(update={"gateway": silent}) == load_config(None) == default


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nmae = 'x'", "nmae"),
        ("[gateway]\nprot = 1", "gateway.prot"),
        ("[drafter]\nweights = 'int3'", "drafter.weights"),
        ("[verifier]\nweights = 'bf16'", "verifier.model"),
        ("[router]\ndraft_tokens = 17", "router.draft_tokens"),
        ("[router.policy]\nname = 'coin'", "coin"),
        ("[router.policy]\nthreshold = 2.5", "router.policy.threshold"),
        ("[router.policy]\nthreshold = nan", "router.policy.threshold"),
        ("[router.policy]\nshare = 1.5", "router.policy.share"),
        ("[router.policy]\nshare = 0.5\nthreshold = 0.5", "only one"),
        ("[router.policy]\nname = 'cascade'\nshare = 0.5", "once a text"),
        ("[router.until]\nname = 'step'", "router.until"),
        ("[router.until]\nshare = 0.5", "router.until"),
        ("host = 'localhost'", "host"),
        ("[ray]\nstart_seconds = 5", "ray.start_seconds"),
        ("[drafter]\nmodel = ''\nyarn_factor = 4", "yarn_factor"),
        ("[verifier]\nmodel = 'm'\nyarn_factor = 1", "verifier.yarn_factor"),
        ("[verifier]\nmodel = 'm'\n[verifier.ring]\nranks = 2\ncores = [[0]]", "cores: of 1 ranks, not 2"),
        ("[verifier]\nmodel = 'm'\ncores = [0]\n[verifier.ring]\nranks = 2", "ring.cores"),
        (
            "[verifier]\nmodel = 'm'\n[verifier.ring]\nranks = 2\ncores = [[0], []]",
            "verifier.ring: Value error, cores",
        ),
        ("[verifier]\nmodel = 'm'\n[verifier.ring]\ncores = [[0]]", "Value error, cores"),
        ("[verifier]\nmodel = 'm'\n[verifier.ring]\nschedule = 'shout'", "verifier.ring.schedule"),
        ("[ledger]\nurl = 'http://h'", "ledger.url"),
        ("[ledger]\nurl = 'redis://u:s3cret@h'", "ledger.url: Value error, holds a password"),
        ("[ledger]\nurl = 'redis://h?password=s3cret'", "ledger.url: Value error, holds a password"),
        ("[ledger]\nurl = 'redis://h?socket_timeout=9'", "ledger.url"),
        ("[ledger]\nurl = 'redis://h/x'", "number of a database"),
        ("[ledger]\nurl = 'redis://h:99999'", "ledger.url"),
        ("[ledger]\nurl = 'unix://'", "ledger.url"),
        ("[ledger]\nurl = 'redis://h'\npassword_file = '/f'\npassword_env = 'E'", "only one"),
        ("[ledger]\npassword_env = 'E'", "need a url"),
        ("[ledger]\nurl = 'redis://h'\ntls_ca = '/f'", "tls_ca: only with"),
        ("[ledger]\nurl = 'rediss://h'\ntls_cert = '/f'", "both or none"),
        ("[ledger]\npassword = 's3cret'", "ledger.password"),
        ("name = ", "cluster.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named) as raised:
        load_config(file)
    assert "s3cret" not in str(raised.value)


def test_models_of_different_vocabularies_are_no_pair(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text("[drafter]\nmodel = 'smollm2-135m'\n[verifier]\nmodel = 'qwen2.5-coder-1.5b'")
    with pytest.raises(ConfigError, match="different vocabularies"):
        check_models(load_config(file))
    check_models(ClusterConfig())


YARN = "[drafter]\nmodel = 'qwen2.5-coder-0.5b'\n{}\n[verifier]\nmodel = 'qwen2.5-coder-1.5b'\n{}"


@pytest.mark.parametrize(
    ("drafter", "verifier"),
    [("", "yarn_factor = 4"), ("yarn_factor = 4", ""), ("yarn_factor = 2", "yarn_factor = 4")],
)
def test_a_pair_reads_as_far_as_both_do(tmp_path: Path, drafter: str, verifier: str) -> None:
    """Else the factor would stretch one of them for nothing, and nobody would see it."""
    file = tmp_path / "cluster.toml"
    file.write_text(YARN.format(drafter, verifier))
    with pytest.raises(ConfigError, match=r"yarn_factor: qwen2\.5-coder-1\.5b would read"):
        check_models(load_config(file))
    file.write_text(YARN.format("yarn_factor = 4", "yarn_factor = 4"))
    check_models(load_config(file))
