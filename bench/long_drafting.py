"""Drafts behind long prompts: a drafter that sees all of the text, and the same one seeing a part of it.

    python bench/long_drafting.py [--context 8192] [--prompts 4] [--tokens 64] [--only window relevant]

Both models in one process. Every prompt is this repository's own files and a question. The large model alone,
the drafter with a full view and with each view of actors/engine/views take turns on it. Both models have read
the prompt before anything is timed, whole, but for ways that end in "-prompt": there the drafter has read it
in part as well. Rates count the tokens after the first ones. `ratio` is the median over the prompts of how
much faster a way is than the full view; `equal_texts` counts the texts that are the large model's.
"""

import argparse
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from harness import HERE, LOCAL, RESULTS, changed, console, heading, write
from long_runs import FULL, PLAIN, Run, summary, table
from plots import axes, bars, level, save

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.engine import views
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import Chunk, Message, Mode, Sampling, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster import roles
from ringroad.cluster.config import ClusterConfig, load_config
from ringroad.cluster.models import locate

READ_IN_PART = "-prompt"
WANTED = 1.3  # times the full view
PIECE = 256  # tokens of a prompt a step
# Which files a prompt holds, and what is asked of them.
QUESTIONS = (
    (
        "docs/decisions/*.md",
        "Summarise these decisions: for each the problem, what was chosen, and the price.",
    ),
    ("actors/router/*.py", "Explain, file by file, what this code does. Quote the signatures you explain."),
    ("actors/engine/*.py", "Write the pages of an API reference for these classes, with all public methods."),
    ("docs/*.md", "Write a tutorial for a newcomer from this documentation, with all commands and tables."),
    ("kernels/*.py", "Write unit tests for the functions of these files, most important first."),
    (
        "actors/drafter/*.py",
        "Review this code: go through the files in order and repeat each line you discuss.",
    ),
)


class Prompt(NamedTuple):
    """Tokens, and the files they are from."""

    files: str
    ids: list[int]


class Clocked:
    """A role, and the seconds of its steps."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._role, name)

    def step(self) -> list[Message]:
        began = perf_counter()
        answers = self._role.step()
        self.seconds += perf_counter() - began
        return answers


class Timed(Colocated):
    """Notes when tokens are committed, and what each role has taken until then."""

    def __init__(self, config: RouterConfig, *clocked: Clocked) -> None:
        super().__init__(config, *clocked)
        self._clocked = clocked
        self.marks: list[tuple[float, list[float], int]] = []  # moment, seconds of the roles, tokens

    def _deliver(self, address: bytes, message: Message) -> None:
        if isinstance(message, Chunk) and message.tokens:
            spent = [role.seconds for role in self._clocked]
            self.marks.append((perf_counter(), spent, len(message.tokens)))
        super()._deliver(address, message)


class Pair:
    """Both models with their caches, and the ways to use them."""

    def __init__(self, config: ClusterConfig, guesses: int, sees_tokens: int) -> None:
        self._router = RouterConfig(draft_tokens=guesses, adapt=False, ahead="serial")
        self._verifier = Verifier(roles.engine(config.verifier), "large")
        small = roles.engine(config.drafter, config.drafter.layers)
        self.model: Model = small.model
        bytes_ = round(config.drafter.cache_gigabytes * 1e9)
        # What has read prompts in part shares nothing with what has read them whole.
        self._engines = {False: small, True: Engine(small.model, bytes_)}
        self._room = sees_tokens // BLOCK

    def run(self, way: str, prompt: Sequence[int], tokens: int) -> Run:
        """One text. A drafter of its own: nothing is learnt from other ways."""
        in_part, name = way.endswith(READ_IN_PART), way.removesuffix(READ_IN_PART)
        engine = self._engines[in_part]
        engine.view = views.make(name, self._room) if name != PLAIN else None
        drafter = Clocked(ModelDrafter(engine, "small", plan=Plan(prompt_in_part=in_part)))
        verifier = Clocked(self._verifier)
        loop = Timed(self._router, verifier, drafter)
        mode = Mode.LARGE if way == PLAIN else Mode.SPECULATIVE
        chunks = loop.generate(Submit("s", list(prompt), tokens, mode, Sampling()))["s"]
        counts = chunks[-1].counts
        assert counts is not None
        (start, before, first), (end, after, _) = loop.marks[0], loop.marks[-1]
        text = [token for chunk in chunks for token in chunk.tokens]
        judging, drafting = (b - a for a, b in zip(before, after, strict=True))
        return Run(
            text,
            {
                "tokens_per_second": (len(text) - first) / (end - start) if end > start else 0.0,
                "drafting_seconds": drafting,
                "judging_seconds": judging,
                "consults": counts.consults,
                "drafted": counts.drafted,
                "accepted": counts.accepted,
            },
        )

    def reading(self, prompt: Sequence[int], view: str) -> float:
        """Seconds that the small model takes to read a prompt that nobody has read before."""
        engine = Engine(self.model, view=views.make(view, self._room))
        engine.open("s", Sampling())
        began = perf_counter()
        for at in range(0, len(prompt), PIECE):
            engine.step([Work("s", prompt[at : at + PIECE], answers=0, partial=True)])
        return perf_counter() - began


def prompts(tokenizer: Tokenizer, context: int, tokens: int, count: int) -> list[Prompt]:
    """So many, each with as much of its files as leaves room for the answer in `context` tokens."""
    found: list[Prompt] = []
    for pattern, question in QUESTIONS[:count]:
        files = sorted(HERE.parent.glob(pattern))
        text = "\n\n".join(f"# {path.relative_to(HERE.parent)}\n\n{path.read_text()}" for path in files)
        ids = tokenizer.encode(text)
        around = len(tokenizer.encode_chat([{"role": "user", "content": f"{question}\n\n"}]))
        held = tokenizer.decode(ids[: context - tokens - around - 32])
        chat = tokenizer.encode_chat([{"role": "user", "content": f"{held}\n\n{question}"}])
        found.append(Prompt(pattern, chat))
    return found


def plot(result: Mapping[str, Any], out: Path) -> None:
    """Tokens per second by prompt, and how much faster than the full view."""
    rows, ways = result["rows"], list(result["ways"])
    title = f"Drafting behind {result['context']} tokens, {result['date']}, {result['machine']}"
    figure, (left, right) = axes(2, title)
    rates = {way: [row["ways"][way]["tokens_per_second"] for row in rows] for way in ways}
    bars(left, [row["files"] for row in rows], rates, "tokens per second")
    bars(right, ways, {"median of the prompts": [result["ways"][way]["ratio"] for way in ways]}, "over all")
    level(right, WANTED)
    save(figure, out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*views.names(), *(name + READ_IN_PART for name in views.names())]
    parser.add_argument("--only", nargs="+", choices=known, default=views.names(), metavar="WAY")
    parser.add_argument("--context", type=int, default=8192, help="tokens, the answer's included")
    parser.add_argument("--prompts", type=int, default=4, choices=range(1, len(QUESTIONS) + 1))
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every way on every prompt")
    parser.add_argument("--guesses", type=int, default=8, help="a round")
    parser.add_argument("--sees-tokens", type=int, default=512)
    parser.add_argument("--pair", nargs=2, metavar=("SMALL", "LARGE"), help="other models than the config's")
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--out", type=Path, default=RESULTS / "long_drafting.json")
    return parser.parse_args()


def main() -> None:
    """Runs everything; bench/results/long_drafting.json and .png grow with every prompt."""
    args = arguments()
    small, large = args.pair or (None, None)
    changes = {"drafter": {"model": small}, "verifier": {"model": large}} if args.pair else {}
    with changed(args.config, changes) as path:
        config = load_config(path)
    result = heading()
    pair = Pair(config, args.guesses, args.sees_tokens)
    asked = prompts(Tokenizer.open(locate(config.verifier.model)), args.context, args.tokens, args.prompts)
    ways = [PLAIN, FULL, *args.only]
    result |= {
        "models": {
            "small": [config.drafter.model, config.drafter.weights],
            "large": [config.verifier.model, config.verifier.weights],
        },
        "context": args.context,
        "tokens_each": args.tokens,
        "guesses": args.guesses,
        "sees_tokens": args.sees_tokens,
        "reading_seconds": {view: round(pair.reading(asked[0].ids, view), 2) for view in (FULL, "window")},
        "rows": [],
    }
    for prompt in asked:
        runs: dict[str, list[Run]] = {way: [] for way in ways}
        for way in ways:  # reads the prompt
            pair.run(way, prompt.ids, 2)
        for turn in range(args.rounds):
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                runs[way].append(pair.run(way, prompt.ids, args.tokens))
        digest = blake2b(repr(prompt.ids).encode(), digest_size=8).hexdigest()
        row = {"files": prompt.files, "tokens": len(prompt.ids), "digest": digest, "ways": summary(runs)}
        console.print(row)
        result["rows"].append(row)
        result["ways"] = table(result["rows"])
        write(args.out, result)
        plot(result, args.out)
    console.print(result["ways"])


if __name__ == "__main__":
    main()
