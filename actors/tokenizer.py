"""A model's own tokenizer and chat template, from its GGUF file or its Hugging Face folder, without torch.

Byte-level BPE only: the Llama 3, Qwen2, Qwen3 and SmolLM families. Every token then stands for a
fixed run of bytes, and that is what makes `TextStream` exact.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Bpe

from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile
from ringroad.actors.positions import from_config, from_gguf

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # tokenizer.ggml.token_type
_TURN_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>")
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Text to token ids and back.

    `vocabulary` counts the ids the model knows, padding included; `context_length` is in tokens;
    `ends` are the tokens that end a text; `model_name` is the model's own name for itself;
    `fingerprint` is the same for two models whose ids mean the same.
    """

    def __init__(
        self,
        bpe: Bpe,
        *,
        model_name: str,
        vocabulary: int,
        context_length: int,
        ends: Iterable[int | None],
        chat_template: str | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """`words` are the names that a chat template may use, such as bos_token. Raises ModelError."""
        if not isinstance(bpe.decoder, decoders.ByteLevel):
            raise ModelError(f"{model_name}: not a byte-level tokenizer; no other kind is supported")
        added = bpe.get_added_tokens_decoder()
        self._special = frozenset(id for id, token in added.items() if token.special)
        named = (bpe.token_to_id(token) for token in _TURN_ENDS)
        self._bpe = bpe
        self._bytes: dict[int, bytes] = {}
        self._template = None if chat_template is None else _compiled(chat_template, model_name)
        self._words = dict(words or {})
        self.model_name = model_name
        self.fingerprint = hashlib.sha256(json.dumps(sorted(bpe.get_vocab().items())).encode()).hexdigest()
        self.vocabulary = vocabulary
        self.context_length = context_length
        self.ends = sorted({i for i in ends if i is not None} | {i for i in named if i in self._special})

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """From a GGUF file or a Hugging Face folder. Raises ModelError when it holds no usable tokenizer."""
        return _from_folder(path) if path.is_dir() else _from_gguf(path)

    def encode(self, text: str) -> list[int]:
        """A prompt as it is; names of special tokens in it become those tokens."""
        return self._ids(text, add_special_tokens=True)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation, up to where the assistant begins to speak. Raises ValueError as `render` does."""
        return self._ids(self.render(messages), add_special_tokens=False)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Messages with "role" and "content" through the model's chat template.

        Raises ValueError when there is no template or when it refuses the conversation.
        """
        if self._template is None:
            raise ValueError("this model has no chat template")
        try:
            return self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **self._words
            )
        except jinja2.TemplateError as error:
            raise ValueError(f"the model's chat template refuses it: {error}") from error

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` without special tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, id: int) -> bytes:
        """What a token adds to a text: none for special tokens and for ids without a token."""
        known = self._bytes.get(id)
        if known is None:
            token = "" if id in self._special else self._bpe.id_to_token(id) or ""
            known = self._bytes[id] = _spelled(token)
        return known

    def containing(self, run: bytes) -> list[int]:
        """The tokens whose bytes hold that run."""
        known = self._bpe.get_vocab().items()
        return sorted(id for token, id in known if id not in self._special and run in _spelled(token))

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        # The batch form lets other threads run meanwhile; `encode` holds Python's lock.
        return self._bpe.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids


class TextStream:
    """The text of tokens that arrive bit by bit; joined, it is `decode` of them all.

    A character split over tokens comes with the token that completes it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._rest = b""  # of a character that is not complete

    @property
    def pending(self) -> bool:
        """Whether a character is not complete yet."""
        return bool(self._rest)

    def push(self, ids: Iterable[int]) -> str:
        """The characters that these tokens complete."""
        data = self._rest + b"".join(map(self._bytes_of, ids))
        text, read = codecs.utf_8_decode(data, "replace")
        self._rest = data[read:]
        return text

    def finish(self) -> str:
        """U+FFFD for a character that never was completed, else nothing."""
        rest, self._rest = self._rest, b""
        return rest.decode(errors="replace")


def _from_gguf(path: Path) -> Tokenizer:
    file = GgufFile(path)
    meta = file.metadata
    if (model := meta.get("tokenizer.ggml.model")) != "gpt2":
        raise ModelError(f"{path}: tokenizer of kind {model!r}; only byte-level BPE ('gpt2') is supported")
    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    types: list[int] = meta.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    vocabulary = {token: id for id, token in enumerate(tokens) if types[id] != _UNUSED}
    bpe = Bpe(models.BPE(vocab=vocabulary, merges=merges))
    _split(bpe, meta.get("tokenizer.ggml.pre"), path)
    bpe.decoder = decoders.ByteLevel()
    for kind in (_CONTROL, _USER_DEFINED):
        _add(bpe, [tokens[id] for id, type in enumerate(types) if type == kind], special=kind == _CONTROL)
    ids = {name: meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom")}
    if meta.get("tokenizer.ggml.add_bos_token") and ids["bos"] is not None:
        _start_with(bpe, tokens[ids["bos"]], ids["bos"])
    return Tokenizer(
        bpe,
        model_name=meta.get("general.name", path.stem),
        vocabulary=len(tokens),
        context_length=from_gguf(file).context,
        ends=[ids["eos"], ids["eot"], ids["eom"]],
        chat_template=meta.get("tokenizer.chat_template"),
        words={f"{name}_token": tokens[id] for name, id in ids.items() if id is not None},
    )


def _split(bpe: Bpe, rule: str | None, path: Path) -> None:
    """Cuts text into words as the model's own tokenizer.json does: a GGUF file only names the rule."""
    match rule:
        case "qwen2":
            bpe.normalizer = normalizers.NFC()
            steps = [
                pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        case "smollm":
            steps = [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        case _:
            raise ModelError(f"{path}: unknown pre-tokenizer {rule!r}; known: 'qwen2', 'smollm'")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(steps)


def _add(bpe: Bpe, tokens: list[str], *, special: bool) -> None:
    added = [AddedToken(token, normalized=False, special=special) for token in tokens]
    (bpe.add_special_tokens if special else bpe.add_tokens)(added)


def _start_with(bpe: Bpe, token: str, id: int) -> None:
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, id)]
    )


def _from_folder(path: Path) -> Tokenizer:
    config = _read_json(path / "config.json")
    own = _read_json(path / "tokenizer_config.json")
    generation = _read_json(path / "generation_config.json")
    if not (path / "tokenizer.json").exists():
        raise ModelError(f"{path}: no tokenizer.json")
    bpe = Bpe.from_file(str(path / "tokenizer.json"))
    bpe.no_truncation()
    bpe.no_padding()
    words = {name: word for name in ("bos_token", "eos_token") if (word := _content(own.get(name)))}
    listed = [entry.get("eos_token_id") for entry in (config, generation)]
    ends = [id for entry in listed for id in (entry if isinstance(entry, list) else [entry])]
    return Tokenizer(
        bpe,
        model_name=path.name,
        vocabulary=config.get("vocab_size", bpe.get_vocab_size()),
        context_length=from_config(path, config).context,
        ends=[*ends, *(bpe.token_to_id(word) for word in words.values() if word == words.get("eos_token"))],
        chat_template=_template(path, own.get("chat_template")),
        words=words,
    )


def _template(path: Path, listed: str | list[dict[str, str]] | None) -> str | None:
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    if isinstance(listed, list):
        return next((entry["template"] for entry in listed if entry["name"] == "default"), None)
    return listed


def _compiled(template: str, model_name: str) -> jinja2.Template:
    """As transformers sets jinja2 up: templates are written for exactly this. Raises ModelError."""
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "extensions": [loopcontrols]}
    environment = ImmutableSandboxedEnvironment(**options)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise ModelError(f"{model_name}: chat template: {error}") from error


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    return found


def _content(token: str | dict[str, str] | None) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def _alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable ones as themselves, the others from U+0100 on (encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = _alphabet()


def _spelled(token: str) -> bytes:
    try:
        return bytes(map(_BYTES.__getitem__, token))
    except KeyError:  # an added token, kept as plain text
        return token.encode()
