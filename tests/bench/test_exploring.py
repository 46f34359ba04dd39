"""What exploring says of many settings at once, against the served system with each."""

from collections.abc import Sequence
from functools import cache

import pytest
from exploring import Setting, Tree, explore

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Chunk, Mode, Policy, Sampling, Speaker
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.policies import RULES, Scope
from ringroad.cluster.training.speaking import play
from ringroad.kernels.head import Head
from ringroad.kernels.linear import Weights
from tests import reference
from tests.engine.tiny import SHAPE, prompt
from tests.kernels.heads import tensors
from tests.roles.pair import counts_of, large, request, small, speakers_of, text_of, verifier

HEAD = Head(tensors(SHAPE.width))
RULED = sorted(name for name, rule in RULES.items() if rule.scope is Scope.TOKEN)
THRESHOLDS = (0.0, 0.2, 0.4, 0.55, 0.7, 0.85, 0.95, 1.0, 2.0)
SETTINGS = [Setting(name, at) for name in RULED for at in THRESHOLDS]
TOKENS = 20
ENDS = tuple(range(12))
MODELS = [large("fp32"), small("fp32")]
PROMPTS = [tuple(prompt(4 + 9 * i, i)) for i in range(4)]


@cache
def explored(kind: Weights, head: Head | None, settings: tuple[Setting, ...] = tuple(SETTINGS)) -> list[Tree]:
    """Every prompt's tree, all at once."""
    engines = [Engine(large(kind)), Engine(small(kind), head=head)]
    found = dict(play(engines, (explore(text, settings, ENDS, TOKENS) for text in PROMPTS)))
    return [found[at] for at in range(len(PROMPTS))]


@cache
def served(kind: Weights, head: Head | None, setting: Setting) -> list[list[Chunk]]:
    """Every prompt's chunks, from the roles that serve it."""
    drafter = ModelDrafter(Engine(small(kind), head=head), "small")
    submits = [
        request(
            Sampling(),
            Mode.ROUTED,
            name=str(at),
            text=text,
            max_tokens=TOKENS,
            policy=Policy(*setting),
            ends=ENDS,
        )
        for at, text in enumerate(PROMPTS)
    ]
    chunks = Colocated(RouterConfig(), verifier(kind), drafter).generate(*submits)
    return [chunks[str(at)] for at in range(len(PROMPTS))]


def of(tree: Tree, setting: Setting) -> tuple[list[int], int]:
    """What a tree says of a setting: it is in one text."""
    ((tokens, count),) = [(list(t.tokens), t.large[setting]) for t in tree.texts if setting in t.large]
    return tokens, count


@pytest.mark.parametrize(
    ("kind", "head"),
    [("fp32", None), ("fp32", HEAD), ("bf16", HEAD)],
    ids=["fp32", "fp32, head", "bf16, head"],
)
def test_every_setting_is_what_would_be_served(kind: Weights, head: Head | None) -> None:
    """Its text, and how often the large model speaks."""
    trees = explored(kind, head)
    for setting in SETTINGS:
        for tree, chunks in zip(trees, served(kind, head, setting), strict=True):
            said, consulted = of(tree, setting)
            assert said == text_of(chunks), setting
            assert consulted == speakers_of(chunks).count(Speaker.LARGE), setting
            assert consulted == counts_of(chunks).large, setting


@pytest.mark.parametrize("head", [None, HEAD], ids=["no head", "a head"])
def test_settings_differ_enough_to_be_told_apart(head: Head | None) -> None:
    """Else the test above would prove nothing."""
    for tree in explored("fp32", head):
        assert len(tree.texts) > 3
        for rule in RULED:
            counts = {of(tree, Setting(rule, at))[1] for at in THRESHOLDS}
            assert len(counts) > (2 if rule != "learned" or head else 0), rule
    lengths = {len(text.tokens) for tree in explored("fp32", head) for text in tree.texts}
    assert min(lengths) < TOKENS == max(lengths), "some texts end by themselves"


@pytest.mark.parametrize("rule", RULED)
def test_both_ends_are_one_models_own_text(rule: str) -> None:
    for at, tree in enumerate(explored("fp32", HEAD)):
        alone = [reference.plain_text(m, PROMPTS[at], Sampling(), TOKENS, ENDS) for m in MODELS]
        assert of(tree, Setting(rule, 0.0)) == (alone[0], len(alone[0]))
        assert of(tree, Setting(rule, 2.0)) == (alone[1], 0)
        assert alone[0] != alone[1]


def prefixes(settings: Sequence[Setting], at: int) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Of the served texts of some settings: where the large model was asked, and where the small one."""
    asked: tuple[set[tuple[int, ...]], set[tuple[int, ...]]] = (set(), set())
    for setting in settings:
        chunks = served("fp32", HEAD, setting)[at]
        said = text_of(chunks)
        for i, speaker in enumerate(speakers_of(chunks)):
            asked[1].add(tuple(said[:i]))
            if speaker is Speaker.LARGE:
                asked[0].add(tuple(said[:i]))
    return asked


@pytest.mark.parametrize("chosen", [SETTINGS, SETTINGS[:9], SETTINGS[4:5], SETTINGS[8:9], SETTINGS[::4]])
def test_nothing_is_asked_twice(chosen: list[Setting]) -> None:
    """The small model once for each beginning of any text, the large one where some setting consults."""
    for at, tree in enumerate(explored("fp32", HEAD, tuple(chosen))):
        for_large, for_small = prefixes(chosen, at)
        assert (tree.large_asked, tree.small_asked) == (len(for_large), len(for_small))
        assert sorted(setting for text in tree.texts for setting in text.large) == sorted(chosen)
        assert len({text.tokens for text in tree.texts}) == len(tree.texts)


def test_chances_are_the_small_models_along_its_own_text() -> None:
    for at, tree in enumerate(explored("fp32", HEAD)):
        said, _ = of(tree, Setting("margin", 2.0))
        wanted = []
        for i in range(len(said)):
            engine = Engine(MODELS[1])
            engine.open("s", Sampling())
            outcome = engine.step([Work("s", [*PROMPTS[at], *said[:i]], features=True)])[0]
            assert outcome.features is not None
            wanted += outcome.features.top
        assert tree.chances == pytest.approx(wanted, abs=1e-6)
