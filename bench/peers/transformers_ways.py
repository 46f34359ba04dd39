"""The transformers peer as a worker (lines.py): plain, assisted by a small model, or with prompt lookup.

It runs in this project's own environment. Plain takes any batch; the other two one prompt at a time.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lines import Answer, Request, RequestError, claim_stdout, log, serve
from transformers import AutoModelForCausalLM, PreTrainedModel, StoppingCriteria

LOOKUP_TOKENS = 10  # what its documentation suggests


class Clock(StoppingCriteria):
    """Stops nothing; notes when the text had grown to what length."""

    def __init__(self) -> None:
        self.times: list[tuple[float, int]] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.times.append((perf_counter(), input_ids.shape[1]))
        return torch.zeros(len(input_ids), dtype=torch.bool)


def load(folder: Path) -> PreTrainedModel:
    """A model in bf16 that never ends a text by itself."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    return model


class Peer:
    """The large model, and what guesses for it."""

    def __init__(self, folder: Path, draft_folder: Path | None) -> None:
        self._model = load(folder)
        self._padding = self._model.generation_config.pad_token_id or 0
        self._ways: dict[str, Mapping[str, Any]] = {
            "plain": {},
            "lookup": {"prompt_lookup_num_tokens": LOOKUP_TOKENS},
        }
        if draft_folder is not None:
            self._ways["assisted"] = {"assistant_model": load(draft_folder)}

    @torch.inference_mode()
    def generate(self, request: Request) -> Answer:
        """Tokens for all prompts as one batch. Raises RequestError."""
        if request.way not in self._ways:
            raise RequestError(f"no way {request.way}; there are {', '.join(self._ways)}")
        if request.way != "plain" and len(request.prompts) > 1:
            raise RequestError(f"{request.way} takes one prompt at a time")
        clock, (ids, mask) = Clock(), self._padded(request.prompts)
        start = perf_counter()
        out = self._model.generate(
            ids,
            attention_mask=mask,
            pad_token_id=self._padding,
            max_new_tokens=request.max_tokens,
            stopping_criteria=[clock],
            **_sampling(request.temperature),
            **self._ways[request.way],
        )
        (first, before), (last, after) = clock.times[0], clock.times[-1]
        decoded = (after - before) * len(ids)
        return Answer(
            seconds_total=last - start,
            first_token_seconds=first - start,
            tokens=out[:, ids.shape[1] :].tolist(),
            tokens_per_second=decoded / (last - first) if decoded else None,
            steps=len(clock.times) - 1,
        )

    def _padded(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts and mask [prompts, longest], filled up on the left."""
        longest = max(map(len, prompts))
        ids = [[self._padding] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids), torch.tensor(mask)


def _sampling(temperature: float) -> dict[str, Any]:
    if not temperature:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": float(temperature), "top_k": 0, "top_p": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder in transformers, a JSON line at a time.")
    parser.add_argument("folder", type=Path, help="a Hugging Face folder, as bench/export.py writes it")
    parser.add_argument("--draft-folder", type=Path, help="the small model's folder, for assisted")
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    answers = claim_stdout()
    peer = Peer(args.folder, args.draft_folder)
    peer.generate(Request([[1, 2, 3, 4]], 4))
    log("ready")
    serve(peer.generate, answers)


if __name__ == "__main__":
    main()
