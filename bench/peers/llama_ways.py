"""The llama.cpp peer as a worker (lines.py): plain, prompt lookup, or a small model drafting, on GGUF files.

Plain calls llama.cpp's own batches and samplers, without llama-cpp-python's loop around them: any
batch. Guesses are what llama-cpp-python offers, one prompt at a time.
"""

import argparse
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import llama_cpp as ll
import numpy as np
from lines import Answer, Request, RequestError, claim_stdout, log, serve
from llama_cpp.llama_speculative import LlamaDraftModel, LlamaPromptLookupDecoding

CONTEXT, MOST, CHUNK = 2048, 8, 512  # tokens of a prompt and its answer, prompts at once, tokens read at once
LOOKUP = {"max_ngram_size": 2, "num_pred_tokens": 2}  # two guesses: its documentation's choice for a CPU
DRAFTED = 4


class SmallModel(LlamaDraftModel):
    """Greedy guesses of another model, which keeps what it has read."""

    def __init__(self, path: Path, threads: int) -> None:
        self._model = opened(path, threads)

    def __call__(self, input_ids: Any, /, **kwargs: Any) -> Any:
        guesses = self._model.generate(input_ids.tolist(), temp=0.0)
        return np.array(list(islice(guesses, DRAFTED)), dtype=np.intc)


class Plain:
    """Sequences on llama.cpp itself: a step is one llama_decode of a token of each."""

    def __init__(self, model: Any, threads: int) -> None:
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_seq_max = CONTEXT * MOST, MOST
        params.n_batch = params.n_ubatch = CHUNK
        params.n_threads = params.n_threads_batch = threads
        self._context = ll.llama_init_from_model(model, params)
        self._batch = ll.llama_batch_init(CHUNK, 0, 1)

    def generate(self, request: Request) -> Answer:
        """Tokens for all prompts as one batch."""
        ll.llama_memory_clear(ll.llama_get_memory(self._context), True)
        samplers = [_sampler(request.temperature, seed) for seed in range(len(request.prompts))]
        start = perf_counter()
        texts = [[self._read(prompt, index, samplers[index])] for index, prompt in enumerate(request.prompts)]
        first = perf_counter()
        ends = [len(prompt) for prompt in request.prompts]
        for step in range(request.max_tokens - 1):
            self._decode([(text[-1], ends[i] + step, i, True) for i, text in enumerate(texts)])
            for index, text in enumerate(texts):
                text.append(ll.llama_sampler_sample(samplers[index], self._context, index))
        for sampler in samplers:
            ll.llama_sampler_free(sampler)
        return answered(texts, start, first)

    def _read(self, prompt: list[int], sequence: int, sampler: Any) -> int:
        """A prompt's first token."""
        for at in range(0, len(prompt), CHUNK):
            piece = range(at, min(at + CHUNK, len(prompt)))
            self._decode([(prompt[i], i, sequence, i == len(prompt) - 1) for i in piece])
        return int(ll.llama_sampler_sample(sampler, self._context, -1))

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Rows of (token, position, sequence, whether its logits are wanted)."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position, wanted
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
        if ll.llama_decode(self._context, batch):
            raise RequestError("llama_decode failed")


class Guessing:
    """llama-cpp-python's own loop, with guesses."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def generate(self, request: Request) -> Answer:
        """One prompt's tokens. Raises RequestError for more."""
        if len(request.prompts) > 1:
            raise RequestError(f"{request.way} takes one prompt at a time")
        self._model.reset()
        start = perf_counter()
        stream: Iterator[int] = self._model.generate(
            request.prompts[0], temp=request.temperature, top_k=0, top_p=1.0, min_p=0.0
        )
        text = [next(stream)]
        first = perf_counter()
        text += islice(stream, request.max_tokens - 1)
        return answered([text], start, first)


def opened(path: Path, threads: int, **more: Any) -> Any:
    """A model in llama-cpp-python."""
    return ll.Llama(
        str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False, **more
    )


def answered(texts: list[list[int]], start: float, first: float) -> Answer:
    """Every text had one token at `first`, and has the others now."""
    end, decoded = perf_counter(), sum(map(len, texts)) - len(texts)
    return Answer(end - start, first - start, texts, decoded / (end - first) if decoded else None)


def _sampler(temperature: float, seed: int) -> Any:
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    if temperature:
        ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_temp(temperature))
        ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_dist(seed))
    else:
        ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_greedy())
    return chain


class Peer:
    """The ways, each with a context of its own, made when first asked for: their logits take 1 GB."""

    def __init__(self, path: Path, draft: Path | None, threads: int) -> None:
        self._path, self._draft, self._threads = path, draft, threads
        self._model = opened(path, threads)
        self._made: dict[str, Plain | Guessing] = {}

    def generate(self, request: Request) -> Answer:
        """Tokens for all prompts as one batch. Raises RequestError."""
        longest = max(map(len, request.prompts)) + request.max_tokens
        if longest > CONTEXT or len(request.prompts) > MOST:
            raise RequestError(f"the limits are {CONTEXT} tokens and {MOST} prompts")
        if request.way not in self._made:
            self._made[request.way] = self._make(request.way)
        return self._made[request.way].generate(request)

    def _make(self, way: str) -> Plain | Guessing:
        if way == "plain":
            return Plain(self._model.model, self._threads)
        if way == "lookup":
            guesser: Any = LlamaPromptLookupDecoding(**LOOKUP)
        elif way == "draft" and self._draft:
            guesser = SmallModel(self._draft, self._threads)
        else:
            raise RequestError(f"no way {way}; there are plain, lookup, and with --draft-file draft")
        return Guessing(opened(self._path, self._threads, draft_model=guesser))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a GGUF file in llama.cpp, a JSON line at a time.")
    parser.add_argument("file", type=Path, help="a GGUF file")
    parser.add_argument("--draft-file", type=Path, help="the small model's, for draft")
    args = parser.parse_args()
    answers = claim_stdout()
    peer = Peer(args.file, args.draft_file, os.cpu_count() or 1)
    log("ready")
    serve(peer.generate, answers)


if __name__ == "__main__":
    main()
