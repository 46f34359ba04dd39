"""A tiny pair of models with a toy tokenizer, and questions for them."""

from functools import cache

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Bpe

from ringroad.actors.engine.engine import Engine
from ringroad.actors.tokenizer import Tokenizer, _alphabet
from ringroad.cluster.training.collecting import Pair
from ringroad.cluster.training.tasks import Task
from ringroad.kernels.linear import Weights
from tests.engine.tiny import SHAPE, tiny

ENDS = [256, *range(310, SHAPE.vocabulary)]  # so many that texts end at all lengths
SHAKEN = 0.02  # the small model: the large one, so much shaken


@cache
def tokenizer() -> Tokenizer:
    """Ids 0 to 255 are the bytes, the others words; every fifth of these ends a sentence, and some a text."""
    bpe = Bpe(models.BPE(vocab=_alphabet(), merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken("<|im_end|>", normalized=False)])
    words = [f" word{i}{'.' if i % 5 == 0 else ''}" for i in range(257, SHAPE.vocabulary)]
    bpe.add_tokens([AddedToken(word, normalized=False) for word in words])
    template = "{% for m in messages %}{{ m.content }}{% endfor %}>"
    return Tokenizer(
        bpe,
        model_name="toy",
        vocabulary=SHAPE.vocabulary,
        context_length=SHAPE.context,
        ends=ENDS,
        chat_template=template,
    )


def pair(kind: Weights = "fp32") -> Pair:
    """Both models, with nothing read yet."""
    return Pair(Engine(tiny(kind)), Engine(tiny(kind, shaken=SHAKEN)), tokenizer())


def questions(count: int) -> list[Task]:
    """Of different lengths."""
    return [Task(f"toy/{i}", f"What of {i}" + i * " and then" + "?", "none") for i in range(count)]
