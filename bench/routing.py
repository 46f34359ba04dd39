"""Quality against the large model's share of tokens, for every token router: written to bench/results.

    python bench/routing.py [--games 34] [--folder .routing] [--out bench/results/routing.json]

Greedy texts of the final sets (HumanEval 100 to 163, GSM8K 50 to 99, reasoning-gym from seed 10,000 on),
which no head was trained or calibrated on. Every rule at eight thresholds, taken beforehand from the
quantiles of its doubt on held-out training tokens, and the two ends where one model speaks alone. What is
done is kept in the folder, and gone on with; --report only counts what is there.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exploring import Setting, Tree, explore
from fronts import REACH, Table, area, interval, recovered
from harness import HERE, LOCAL, RESULTS, console, heading, write
from plots import axes, save
from rich.progress import Progress

from ringroad.actors.head.file import HeadFile, read
from ringroad.actors.messages import Features, Policy
from ringroad.actors.router.policies import kept, quantile
from ringroad.cluster.config import load_config
from ringroad.cluster.heads import located, with_head
from ringroad.cluster.training.collecting import Pair
from ringroad.cluster.training.grading import right
from ringroad.cluster.training.opening import open_pair
from ringroad.cluster.training.records import Records
from ringroad.cluster.training.speaking import play
from ringroad.cluster.training.tasks import Task, tasks
from ringroad.kernels.head import Head

SHARES = (0.02, 0.04, 0.07, 0.10, 0.15, 0.20, 0.30, 0.50)  # consulted about, of held-out tokens
PLAIN_RULES = ("margin", "entropy", "max-prob", "random")
SMALL, LARGE = Setting("margin", 2.0), Setting("margin", 0.0)
CASCADES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # thresholds of the request-level cascade
Found = dict[str, dict[str, Any]]  # by task
MOST = 300  # tokens of an answer
AT_ONCE = 48  # prompts
PART = 2 * AT_ONCE  # of the tasks, done by all rules before the next
GOAL, MOST_LARGE = 0.9, 0.2  # of the gap, with at most such a share of large tokens


def settings(head: HeadFile, rules: Sequence[str]) -> list[Setting]:
    """Rules at thresholds that should give SHARES."""
    known: Mapping[str, list[float]] = head.card.quantiles
    return [Setting(name, quantile(known.get(name, []), 1 - share)) for name in rules for share in SHARES]


def begun(done: Records) -> list[Setting]:
    """The settings of a file, if any: it goes on with those that it began with, whatever a new head's card
    says of the rules that need none."""
    for name in done:
        found = {setting for text in done[name]["texts"] for setting in text["large"]}
        parts = [setting.rsplit(" ", 1) for setting in found]
        parts = [part for part in parts if part[0] in PLAIN_RULES]
        return sorted((Setting(policy, float(at)) for policy, at in parts), key=_in_order)
    return []


def _in_order(setting: Setting) -> tuple[int, int, float]:
    """Both ends first, then rule by rule from few consults to many."""
    ends = {SMALL: 0, LARGE: 1}
    rule = PLAIN_RULES.index(setting.policy) if setting.policy in PLAIN_RULES else len(PLAIN_RULES)
    return ends.get(setting, 2), rule, -setting.threshold


def both(rules: Records, learned: Records) -> Found:
    """What is done of both parts: texts of all settings. A new head takes the second part alone."""
    names = [name for name in rules if name in learned]
    parts = {name: (rules[name], learned[name]) for name in names}
    return {
        name: {
            "texts": one["texts"] + other["texts"],
            "chances": one["chances"],
            "asked": [a + b for a, b in zip(one["asked"], other["asked"], strict=True)],
        }
        for name, (one, other) in parts.items()
    }


def run(pair: Pair, todo: Sequence[Task], chosen: Sequence[Setting], done: Records) -> None:
    """All settings of all tasks that are not done yet."""
    scripts = (explore(pair.prompt(task), chosen, pair.tokenizer.ends, MOST) for task in todo)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("exploring", total=len(todo))
        for at, tree in play([pair.large, pair.small], scripts, AT_ONCE):
            done.add(todo[at].name, **judged(todo[at], tree, pair))
            progress.advance(bar)


def judged(task: Task, tree: Tree, pair: Pair) -> dict[str, Any]:
    """What is kept of a prompt's texts."""
    texts = [
        {
            "tokens": len(text.tokens),
            "right": right(task, said := pair.tokenizer.decode(text.tokens)),
            "text": said,
            "large": {named(setting): count for setting, count in text.large.items()},
        }
        for text in tree.texts
    ]
    return {"texts": texts, "chances": tree.chances, "asked": [tree.large_asked, tree.small_asked]}


def named(setting: Setting) -> str:
    """A setting in a file."""
    return f"{setting.policy} {setting.threshold:.6f}"


def tabled(done: Found, names: Sequence[str], rows: Sequence[str]) -> Table:
    """What was found of some tasks, a row for each setting."""
    cells = np.zeros((3, len(rows), len(names)))
    for column, name in enumerate(names):
        for text in done[name]["texts"]:
            for setting, large in text["large"].items():
                if setting in rows:
                    cells[:, rows.index(setting), column] = text["right"], large, text["tokens"]
    return Table(*cells)


def with_cascade(table: Table, done: Found, names: Sequence[str], small: int, large: int) -> Table:
    """The table and, below, the request-level cascade, whose text is either model's own: where it is the
    large one's, all its tokens are consults. What the small model said in vain is not counted."""
    parts = [
        np.vstack([part, part[[small] * len(CASCADES)]]) for part in (table.right, table.large, table.tokens)
    ]
    for column, name in enumerate(names):
        top = done[name]["chances"]
        for n, threshold in enumerate(CASCADES):
            if not kept(Policy("cascade", threshold), Features([], [], top), len(top)):
                row = len(table.right) + n
                parts[0][row, column] = table.right[large, column]
                parts[1][row, column] = parts[2][row, column] = table.tokens[large, column]
    return Table(*parts)


def report(done: Found, chosen: Sequence[Setting]) -> dict[str, Any]:
    """Rates and fronts of all that is done."""
    names = list(done)
    rows = [named(setting) for setting in chosen]
    table = with_cascade(tabled(done, names, rows), done, names, 0, 1)
    rules = [*(setting.policy for setting in chosen), *("cascade" for _ in CASCADES)]
    thresholds = [*(setting.threshold for setting in chosen), *CASCADES]
    kinds = np.array([kind(name) for name in names])
    curves = {
        rule: [i for i, at in enumerate(rules) if at == rule and i > 1] for rule in dict.fromkeys(rules)
    }

    def row(i: int) -> dict[str, Any]:
        found: dict[str, Any] = {"policy": rules[i], "threshold": round(thresholds[i], 6)}
        found["large_share"] = round(float(table.share[i]), 4)
        found["right"] = round(float(table.quality[i]), 4)
        found["right_of_set"] = {
            each: round(float(table.right[i, kinds == each].mean()), 4)
            for each in dict.fromkeys(kinds.tolist())
        }
        found["recovered"] = round(recovered(table, i, 0, 1), 3)
        found["recovered_95"] = rounded(interval(table, partial(recovered, at=i, small=0, large=1)))
        return found

    def gain(of: Table, rule: str, base: str) -> float:
        return area(of, curves[rule], 0, 1) - area(of, curves[base], 0, 1)

    return {
        "tasks": {each: int((kinds == each).sum()) for each in dict.fromkeys(kinds.tolist())},
        "small": row(0),
        "large": row(1),
        "settings": [row(i) for i in range(2, len(rules))],
        f"area_up_to_{REACH:g}": {
            rule: round(area(table, curve, 0, 1), 4) for rule, curve in curves.items() if curve
        },
        "learned_ahead_by_area": {
            base: {
                "by": round(gain(table, "learned", base), 4),
                "by_95": rounded(interval(table, partial(gain, rule="learned", base=base))),
            }
            for base in curves
            if curves[base] and base != "learned"
        },
        "asked": {
            who: int(sum(done[name]["asked"][n] for name in names))
            for n, who in enumerate(("large", "small"))
        },
    }


def kind(name: str) -> str:
    """The set that a task counts for."""
    first = name.split("/")[0]
    return first if first in ("human-eval", "gsm8k") else "reasoning-gym"


def rounded(pair: tuple[float, float]) -> list[float]:
    return [round(each, 4) for each in pair]


def plot(result: Mapping[str, Any], path: Path) -> Path:
    """Quality over the large model's share, a curve a rule, and the goal."""
    names = ["all", *result["tasks"]]
    figure, places = axes(len(names), f"Token routing, greedy, {result['pair']}, {result['date'][:10]}")
    low, high = result["small"], result["large"]
    for at, name in zip(places, names, strict=True):

        def quality(row: Mapping[str, Any], name: str = name) -> float:
            return float(row["right"] if name == "all" else row["right_of_set"][name])

        for rule in dict.fromkeys(each["policy"] for each in result["settings"]):
            own = sorted(
                (each["large_share"], quality(each)) for each in result["settings"] if each["policy"] == rule
            )
            own = [(0.0, quality(low)), *own]
            at.plot(*zip(*own, strict=True), marker="o", markersize=3, label=rule, linewidth=1)
        at.axhline(quality(high), color="black", linewidth=0.8, linestyle="--", label="large alone")
        at.axhline(quality(low), color="grey", linewidth=0.8, linestyle=":", label="small alone")
        goal = quality(low) + GOAL * (quality(high) - quality(low))
        at.plot([0, MOST_LARGE], [goal, goal], color="green", linewidth=2, alpha=0.5, label="goal")
        at.set_xlim(0, 0.6)
        at.set_xlabel("tokens the large model was consulted about")
        at.set_ylabel("answered right")
        at.set_title(name if name == "all" else f"{name}, {result['tasks'][name]} tasks", fontsize=9)
    places[0].legend(fontsize=7)
    return save(figure, path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--games", type=int, default=34, help="items of each game")
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".routing")
    parser.add_argument("--report", action="store_true", help="ask no model; count what is there")
    parser.add_argument("--out", type=Path, default=RESULTS / "routing.json")
    return parser.parse_args()


def main() -> None:
    """Goes on where it was interrupted, and writes bench/results/routing.json and .png."""
    args = arguments()
    config = with_head(load_config(args.config))
    head = read(located(config.head.path))
    rules = Records(args.folder / "rules.jsonl")
    plain = begun(rules) or [SMALL, LARGE, *settings(head, PLAIN_RULES)]
    own = settings(head, ["learned"])
    learned = Records(args.folder / f"learned-{head.card.date[:16]}.jsonl")
    beginning = heading()
    if not args.report:
        # In any order, so that what is done at any time is a fair sample.
        todo = tasks("final", args.games)
        random.Random(0).shuffle(todo)
        todo.sort(key=lambda task: task.name not in rules)  # but what lacks one part only comes first
        torch.set_num_threads(2)
        pair = open_pair(config, Head(head.tensors))
        for some in (todo[at : at + PART] for at in range(0, len(todo), PART)):
            run(pair, [task for task in some if task.name not in learned], own, learned)
            run(pair, [task for task in some if task.name not in rules], plain, rules)
    done, chosen = both(rules, learned), [*plain, *own]
    names = f"{config.drafter.model} ({config.drafter.weights}) and {config.verifier.model}"
    result = {**beginning, "pair": names, "head": head.card.date, **report(done, chosen)}
    write(args.out, result)
    console.print(plot(result, args.out))


if __name__ == "__main__":
    main()
