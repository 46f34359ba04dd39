"""Ids and texts against transformers, which reads the same files by other code."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Bpe

from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile
from ringroad.actors.tokenizer import TextStream, Tokenizer

FILES = Path.home() / ".cache" / "ringroad" / "models"
TEXTS = [
    "Hello, world!",
    "  two  spaces\tand\ttabs \n\n new lines \r\n end  ",
    "I'm sure they'll say it's fine; DON'T you? We've seen IT'S.",
    "def f(x: int) -> str:\n    return f'{x!r:>8}'  # comment\n\n\nclass A:\n\tpass\n",
    "naïve café façade Ångström",
    "你好，世界！日本語のテキスト ー 한국어 Россия مرحبا עברית हिन्दी",
    "😀👍🏽🇺🇸❤️ 👩\u200d👩\u200d👧 🙂🙃",
    "a <|im_start|>user\nhi<|im_end|> b <|endoftext|><|im_end|>c <tool_call>{}</tool_call> <think>",
    "x = 1; y = 3 + 4 * 5\u00a0z\u3000w\ufeff\u200b",
    "\x00\x01\x7f control",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ² ½ Ⅷ",
    "SELECT * FROM t WHERE a <> b AND c != 'd''e';",
    " ",
    "\n",
    "",
]
CHATS = [
    [{"role": "user", "content": "Hi there"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Write 'hi' in {{ jinja }}.\n"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": '  <b>again</b> & "quoted" é🙂 '},
    ],
    [{"role": "user", "content": "a<|im_end|>b"}],
]


def file_of(name: str) -> Path:
    path = FILES / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="module", params=["smollm2-135m", "qwen2.5-coder-0.5b"])
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, Any]:
    """Ours and transformers', of one file."""
    path = file_of(request.param)
    theirs = their_qwen(path) if "qwen" in request.param else their_smollm(path)
    return Tokenizer.open(path), theirs


def their_smollm(path: Path) -> Any:
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # Of the two steps in the model's own tokenizer.json, transformers 5.23 leaves the first out.
    steps = [pre_tokenizers.Digits(individual_digits=True), theirs.backend_tokenizer.pre_tokenizer]
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return theirs


def their_qwen(path: Path) -> Any:
    """From its parts: AutoTokenizer drops the NFC of the model's tokenizer.json and takes 10 seconds."""
    meta = GgufFile(path).metadata
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    theirs = transformers.Qwen2Tokenizer(
        vocab={token: id for id, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]],
    )
    for token, kind in zip(tokens, types, strict=True):
        if kind in (3, 4):
            theirs.add_tokens(AddedToken(token, normalized=False, special=kind == 3))
    theirs.chat_template = meta["tokenizer.chat_template"]
    return theirs


def decoded(theirs: Any, ids: list[int]) -> str:
    text: str = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_are_those_of_transformers(pair: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = pair
    ids = ours.encode(text)
    assert ids == theirs(text)["input_ids"]
    assert ours.decode(ids) == decoded(theirs, ids)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_is_encoded_as_by_transformers(pair: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = pair
    assert ours.encode(text) == theirs(text)["input_ids"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tokens_are_decoded_as_by_transformers(pair: tuple[Tokenizer, Any], data: st.DataObject) -> None:
    ours, theirs = pair
    last = ours._bpe.get_vocab_size() - 1  # beyond it is padding, which transformers spells out
    ids = data.draw(st.lists(st.integers(0, last), max_size=30))
    assert ours.decode(ids) == decoded(theirs, ids)


@pytest.mark.parametrize("chat", CHATS)
def test_chats_are_rendered_as_by_transformers(
    pair: tuple[Tokenizer, Any], chat: list[dict[str, str]]
) -> None:
    ours, theirs = pair
    assert ours.render(chat) == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    expected = theirs.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert ours.encode_chat(chat) == list(expected)


def test_what_the_files_say_of_themselves() -> None:
    smol = Tokenizer.open(file_of("smollm2-135m"))
    assert (smol.ends, smol.vocabulary, smol.context_length) == ([0, 2], 49152, 8192)
    assert smol.encode("12345") == [i for digit in "12345" for i in smol.encode(digit)]
    qwen = Tokenizer.open(file_of("qwen2.5-coder-0.5b"))
    assert (qwen.ends, qwen.vocabulary, qwen.context_length) == ([151643, 151645], 151936, 32768)
    assert qwen.model_name.startswith("Qwen2.5")
    assert qwen.encode("e\u0301") == qwen.encode("\u00e9")  # NFC
    assert qwen.decode([151900, 9707, 2**31]) == "Hello"  # ids without a token say nothing


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_stream_joined_is_the_decoded_whole(toy: Tokenizer, data: st.DataObject) -> None:
    tokens = st.integers(0, 260) | st.sampled_from([*"é🙂日".encode(), 257, 259])
    parts = data.draw(st.lists(st.lists(tokens, max_size=5), max_size=20))
    stream = TextStream(toy)
    pieces = [stream.push(part) for part in parts]
    ids = [token for part in parts for token in part]
    assert "".join(pieces) + stream.finish() == toy.decode(ids)
    assert toy.decode(ids) == toy._bpe.decode(ids, skip_special_tokens=True)


@given(text=st.text(max_size=20))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_never_shows_half_a_character(toy: Tokenizer, text: str) -> None:
    stream = TextStream(toy)
    seen = ""
    for token in text.encode():
        seen += stream.push([token])
        assert text.startswith(seen)
    assert seen == text
    assert stream.finish() == ""


@pytest.fixture
def toy(helpers: Any) -> Tokenizer:
    tokenizer: Tokenizer = helpers.toy_tokenizer()
    return tokenizer


def test_special_tokens_are_not_text_and_added_ones_are(toy: Tokenizer) -> None:
    assert toy.encode("<|im_start|>a<tool>") == [256, 97, 259]
    assert toy.decode([256, 97, 259, 257]) == "a<tool>"
    assert toy.ends == [257, 258]


@pytest.mark.parametrize("content", ["boom", "fine"])
def test_a_template_may_refuse(toy: Tokenizer, content: str) -> None:
    chat = [{"role": "user", "content": content}]
    if content == "boom":
        with pytest.raises(ValueError, match="no boom"):
            toy.render(chat)
    else:
        assert toy.render(chat) == "[user]fine[assistant]"


def test_templates_are_sandboxed(helpers: Any, tmp_path: Path) -> None:
    folder(helpers, tmp_path, chat_template="{{ messages.__class__.__mro__ }}{{ messages.append(1) }}")
    with pytest.raises(ValueError, match="unsafe"):
        Tokenizer.open(tmp_path).render([{"role": "user", "content": "hi"}])


def folder(helpers: Any, path: Path, **config: object) -> None:
    helpers.toy_tokenizer()._bpe.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(
        json.dumps({"max_position_embeddings": 99, "vocab_size": 300, "eos_token_id": 5})
    )
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    own = {"eos_token": {"content": "<|im_end|>"}, "bos_token": "<|im_start|>"} | config
    (path / "tokenizer_config.json").write_text(json.dumps(own))


def test_a_hugging_face_folder(helpers: Any, tmp_path: Path) -> None:
    template = {"name": "default", "template": "{{ bos_token }}{{ eos_token }}"}
    folder(helpers, tmp_path, chat_template=[template])
    tokenizer = Tokenizer.open(tmp_path)
    assert (tokenizer.context_length, tokenizer.vocabulary) == (99, 300)
    assert tokenizer.ends == [5, 6, 257, 258]
    assert tokenizer.encode("aé") == [97, *"é".encode()]
    assert tokenizer.render([]) == "<|im_start|><|im_end|>"
    (tmp_path / "chat_template.jinja").write_text("from a file")
    assert Tokenizer.open(tmp_path).render([]) == "from a file"


def test_a_model_without_a_template_has_no_chat(helpers: Any, tmp_path: Path) -> None:
    folder(helpers, tmp_path)
    with pytest.raises(ValueError, match="no chat template"):
        Tokenizer.open(tmp_path).render([])


def test_what_cannot_be_a_tokenizer_is_refused(helpers: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        Tokenizer.open(tmp_path)
    folder(helpers, tmp_path, chat_template="{% if %}")
    with pytest.raises(ModelError, match="chat template"):
        Tokenizer.open(tmp_path)
    other = Bpe(models.BPE(vocab={"a": 0}, merges=[]))
    other.decoder = decoders.Metaspace()
    other.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="byte-level"):
        Tokenizer.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        Tokenizer.open(tmp_path)


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(10)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("poro-chat")
    writer.add_token_list(["a", "b", "ab"])
    writer.add_token_types([1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"unknown pre-tokenizer 'poro-chat'"):
        Tokenizer.open(path)


def test_tokens_that_hold_a_run_of_bytes(helpers: Any) -> None:
    toy = helpers.toy_tokenizer()
    assert toy.containing(b"\n\n") == [260]
    assert toy.containing(b"o") == [111, 259], "special tokens add nothing to a text"
