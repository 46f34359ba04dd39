"""Texts of a form: in every mode that of plain decoding under the same mask, and of the form."""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from msgspec.structs import replace
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Bpe

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.strategy import Ensemble
from ringroad.actors.engine.engine import Engine
from ringroad.actors.grammars import Grammars, from_json_schema, from_lark, from_regex
from ringroad.actors.messages import Chunk, Finish, Mode, Sampling, Shaping, Speaker, Submit
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.tokenizer import Tokenizer, _alphabet
from ringroad.actors.verifier.verifier import Verifier
from tests import reference
from tests.engine.tiny import SHAPE, prompt, tiny
from tests.roles.pair import SOMETIMES, counts_of, speakers_of, text_of

END = 299
WORDS = ['{"', '": ', '", "', '"}', '"a"', "true", "false", "null", "12", "00", "ab", "ba", "abab", "né", "é"]
TEXT = prompt(12, 2)
TOKENS = 40


@cache
def tokenizer() -> Tokenizer:
    """Bytes, words that go over the borders of a grammar's, and unused ids up to the tiny models' last."""
    bpe = Bpe(models.BPE(vocab=_alphabet(), merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    bpe.add_special_tokens([AddedToken(f"<{n}>", normalized=False) for n in range(256 + len(WORDS), 300)])
    return Tokenizer(
        bpe, model_name="toy", vocabulary=SHAPE.vocabulary, context_length=SHAPE.context, ends=[END]
    )


GRAMMARS = Grammars(tokenizer)
REGEX = r"(ab)+é?[0-9]{2,4}"
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "boolean"},
        "b": {"type": "array", "items": {"enum": [12, None]}, "maxItems": 3},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
}
LARK = 'start: "(" start ")" | "ab" | start "+" start'


def is_schema(text: str) -> bool:
    found = json.loads(text)
    items = found.get("b")
    return (
        set(found) == {"a", "b"}
        and isinstance(found["a"], bool)
        and set(items) <= {12, None}
        and len(items) < 4
    )


def is_sum(text: str) -> bool:
    return re.fullmatch(r"[()+ab]+", text) is not None and eval(text, {"ab": 1}) > 0


FORMS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "regex": (from_regex(REGEX), lambda text: re.fullmatch(REGEX, text) is not None),
    "json": (from_json_schema(json.dumps(SCHEMA)), is_schema),
    "lark": (from_lark(LARK), is_sum),
}


def asked(sampling: Sampling, form: str, mode: Mode = Mode.SPECULATIVE, **shaping: object) -> Submit:
    shaped = Shaping(len(TEXT), late=(END,), grammar=FORMS[form][0], **shaping)  # type: ignore[arg-type]
    return Submit("s", TEXT, TOKENS, mode, replace(sampling, shaping=shaped), [END], draft_tokens=5)


def engine(shaken: float = 0.0) -> Engine:
    rented = Engine(tiny(shaken=shaken))
    rented.grammars = GRAMMARS
    return rented


def run(submit: Submit, tree: str = "") -> list[Chunk]:
    free = Ensemble([strategies.make("suffix"), strategies.make("recycling")], 0.0)
    plan = Plan(free, shape=shapes.make(tree) if tree else None)
    small = ModelDrafter(engine(shaken=0.02), "small", plan=plan)
    return Colocated(RouterConfig(), Verifier(engine(), "large"), small).generate(submit)["s"]


def shut_out(submit: Submit, text: Sequence[int]) -> set[int]:
    """What may not follow a text, by a matcher that reads it from its start."""
    assert submit.sampling.shaping is not None
    matcher = LLMatcher(GRAMMARS._tokenizer, submit.sampling.shaping.grammar)
    assert matcher.consume_tokens(list(text[len(TEXT) :]))
    mask = matcher.compute_bitmask()
    return {token for token in range(SHAPE.vocabulary) if not mask[token // 8] >> token % 8 & 1}


def plain(
    submit: Submit, consults: Callable[[reference.Said], bool] = lambda said: True
) -> tuple[list[int], list[bool]]:
    """Plain decoding, by the small model where nothing consults the large one; and where something did."""
    text, large = list(submit.prompt), []
    assert submit.sampling.shaping is not None
    while len(large) < submit.max_tokens and END not in text[len(submit.prompt) :]:
        said = {}
        for who, shaken in (("small", 0.02), ("large", 0.0)):
            logits = reference.plain_logits(tiny(shaken=shaken), text)
            scores = reference.shaped(logits, submit.sampling.shaping, text, shut_out(submit, text))
            p = sorted(reference.softmax(scores), reverse=True)
            said[who] = reference.Said(
                reference.draw(scores, submit.sampling, len(text)), p[0] - p[1], 0.0, p[0]
            )
        large.append(consults(said["small"]))
        text.append(said["large" if large[-1] else "small"].token)
    return text[len(submit.prompt) :], large


samplings = st.builds(
    Sampling,
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([0.8, 1.0]),
)


@given(
    samplings,
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(["", *shapes.names()]),
    st.sampled_from([{}, {"least": 9}, {"repetition": 1.5, "presence": 0.5, "frequency": 0.5}]),
)
@settings(max_examples=25, deadline=None)
def test_large_and_speculative_are_plain(
    sampling: Sampling, form: str, tree: str, shaping: dict[str, object]
) -> None:
    submit = asked(sampling, form, **shaping)
    expected, _ = plain(submit)
    chunks = run(submit, tree)
    assert text_of(chunks) == expected
    assert text_of(run(replace(submit, mode=Mode.LARGE))) == expected
    text = tokenizer().decode(expected)
    if expected[-1] == END:
        assert FORMS[form][1](text), text
        assert chunks[-1].finish is Finish.STOP
    else:
        assert chunks[-1].finish is Finish.LENGTH


@given(samplings, st.sampled_from(sorted(FORMS)))
@settings(max_examples=10, deadline=None)
def test_small_and_routed_are_plain(sampling: Sampling, form: str) -> None:
    small, _ = plain(asked(sampling, form), lambda said: False)
    assert text_of(run(asked(sampling, form, Mode.SMALL))) == small
    routed = replace(asked(sampling, form, Mode.ROUTED), policy=SOMETIMES)
    expected, large = plain(routed, lambda said: 1.0 - said.margin >= SOMETIMES.threshold)
    chunks = run(routed)
    assert text_of(chunks) == expected
    assert [who is Speaker.LARGE for who in speakers_of(chunks)] == large


@pytest.mark.parametrize("form", sorted(FORMS))
def test_guesses_keep_to_the_form(form: str) -> None:
    """With the same model in both places every guess stays."""
    for seed in range(4):
        small = ModelDrafter(engine(), "small", plan=Plan(Ensemble([], 0.0), second_choices=False))
        submit = asked(Sampling(seed, 0.8), form)
        counts = counts_of(
            Colocated(RouterConfig(), Verifier(engine(), "large"), small).generate(submit)["s"]
        )
        assert counts.drafted == counts.accepted > 0


@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.SMALL])
def test_taken_up_from_every_token_on(mode: Mode) -> None:
    submit = asked(Sampling(3, 0.8), "json", mode)
    chunks = run(submit)
    text, speakers = text_of(chunks), speakers_of(chunks)
    for count in range(len(text)):
        again = replace(submit, committed=text[:count], speakers=speakers[:count])
        assert text_of(run(again)) == text


def test_where_no_grammars_are_known_the_request_fails_alone() -> None:
    verifier = Verifier(Engine(tiny()), "large")
    room = Colocated(RouterConfig(), verifier)
    with pytest.raises(ValueError, match="no grammars"):
        room.generate(asked(Sampling(), "regex", Mode.LARGE))
    (failed,) = verifier.rescue()
    assert failed.session == "s"  # type: ignore[union-attr]


def test_a_form_that_grows_too_complex_is_an_error_and_not_a_wait() -> None:
    form = GRAMMARS.form(from_lark("start: " + '"x"? ' * 1500))
    assert form.allowed([]) is not None
    with pytest.raises(ValueError, match=r"the grammar: .*items"):
        form.allowed(list(b"x"))


def test_what_is_allowed_depends_on_the_text_alone() -> None:
    """Forwards, backwards, off the form and past its end."""
    form, ways = GRAMMARS.form(FORMS["regex"][0]), [b"", b"ab", b"ax", b"abab12", b"abab1234", b"aba", b"xyz"]
    texts = [list(way) for way in ways] + [[*b"ab12", END], [*b"ab12", END, 5], []]
    for text in [*texts, *reversed(texts)]:
        alone = GRAMMARS.form(FORMS["regex"][0]).allowed(text)
        found = form.allowed(text)
        assert (found is None) == (alone is None) == (text[:2] in ([*b"ax"], [*b"xy"]) or END in text)
        if found is not None and alone is not None:
            assert found.tolist() == alone.tolist()
            spelled = [tokenizer().bytes_of(token).decode(errors="replace") for token in found.nonzero()[0]]
            assert all(set(word) <= set("abé0123456789\ufffd") for word in spelled)
