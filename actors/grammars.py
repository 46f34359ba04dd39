"""Texts of a form: which tokens may come next, by a JSON schema, a regular expression or a Lark grammar.

llguidance parses both; here is the vocabulary it parses for, and the way back from a guess.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from ringroad.actors.tokenizer import Tokenizer

KEPT = 64  # grammars that are held compiled
MOST_DIGITS = 4  # of a number that others are multiples of: an automaton has a state for each remainder
MOST_CHARACTERS = 500  # of what is said of an error
# What compiling and one step of parsing may take: some 0.1 s and some ms. What needs more is an error.
LIMITS = LLParserLimits(
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    max_items_in_row=2000,
    max_lexer_states=100_000,
    max_grammar_size=200_000,
)


def from_json_schema(schema: str) -> str:
    """A grammar, as `Grammars` takes it. Raises ValueError for what is no JSON or would take long."""
    try:
        parsed = json.loads(schema, parse_float=Decimal, parse_int=Decimal)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    for number in _multiples(parsed):
        if len(number.normalize().as_tuple().digits) > MOST_DIGITS:
            raise ValueError(f"multipleOf: {number} has more than {MOST_DIGITS} digits")
    return LLMatcher.grammar_from_json_schema(schema)


def _multiples(schema: object) -> Iterator[Decimal]:
    """What is anywhere asked for as `multipleOf`."""
    left = [schema]
    while left:
        match left.pop():
            case dict() as found:
                if isinstance(number := found.get("multipleOf"), Decimal) and number.is_finite():
                    yield number
                left += found.values()
            case list() as found:
                left += found


def from_regex(regex: str) -> str:
    """Likewise, of texts that the whole expression matches."""
    return LLMatcher.grammar_from_regex(regex)


def from_lark(lark: str) -> str:
    """Likewise, from the rule `start` on."""
    return LLMatcher.grammar_from_lark(lark)


MAKERS = {"json_schema": from_json_schema, "regex": from_regex, "lark": from_lark}  # by kind


class Grammars:
    """Grammars over a vocabulary, compiled when they are first used."""

    def __init__(self, tokenizer: Callable[[], Tokenizer]) -> None:
        """tokenizer: is called by the first who wants a grammar."""
        self._load = tokenizer
        self._compiled = lru_cache(KEPT)(self._compile)

    def error(self, grammar: str) -> str:
        """What is wrong with a grammar; empty where nothing is. It may take some tenths of a second."""
        matcher = self._compiled(grammar)
        return _told(matcher) if matcher.is_error() else ""

    def form(self, grammar: str) -> "Form":
        """For one text. Raises ValueError for a grammar of which something is wrong."""
        if problem := self.error(grammar):
            raise ValueError(f"the grammar: {problem}")
        return Form(self._compiled(grammar).deep_copy(), self._tokenizer.vocab_size)

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        loaded = self._load()
        return LLTokenizer(TokenizerWrapper(_Vocabulary(loaded)), eos_token=loaded.ends)

    def _compile(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()  # may be what takes too much, or what nothing is of
        return matcher


def _told(matcher: LLMatcher) -> str:
    """What is wrong, without the state that follows it."""
    return str(matcher.get_error()).partition("<state>")[0].strip()[:MOST_CHARACTERS]


class Form:
    """Where texts are in a grammar. What is allowed is a function of grammar and text alone."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._at: list[int] = []  # tokens of the answer that the matcher has read

    def allowed(self, answer: Sequence[int]) -> np.ndarray | None:
        """Which tokens may follow an answer: [vocabulary] bool. None: any, since it has ended or is not of
        the form. Raises ValueError where that takes more than the limits allow."""
        agreed = next(
            (i for i, (old, new) in enumerate(zip(self._at, answer, strict=False)) if old != new),
            min(len(self._at), len(answer)),
        )
        self._matcher.rollback(len(self._at) - agreed)
        new = list(answer[agreed:])
        read = self._matcher.try_consume_tokens(new)
        self._at[agreed:] = new[:read]
        self._check()
        if read < len(new) or self._ended:
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._vocabulary, bitorder="little").astype(bool)

    @property
    def _ended(self) -> bool:
        return bool(self._matcher.stop_reason() == "EndOfSentence")

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"the grammar: {_told(self._matcher)}")


class _Vocabulary:
    """A tokenizer as llguidance wants it."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        spelled = [tokenizer.bytes_of(token) for token in range(tokenizer.vocabulary)]
        self.special_token_ids = [token for token, text in enumerate(spelled) if not text]
        # 0xFF, which no text holds, begins the name of a token without text.
        self.tokens = [text or b"\xff<%d>" % token for token, text in enumerate(spelled)]
        self.eos_token_id = tokenizer.ends[0]

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)
