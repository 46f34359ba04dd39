"""`ringroad router`: trains a token router for a pair of models, and shows what a head says of itself."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer import Option

from ringroad.actors.engine.weights import fingerprint, open_weights
from ringroad.actors.errors import RingroadError
from ringroad.actors.head.card import Card, metadata
from ringroad.actors.head.file import write
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.config import ClusterConfig, ConfigError, load_config
from ringroad.cluster.models import ModelError, locate
from ringroad.cluster.training import together
from ringroad.cluster.training.collecting import Collection
from ringroad.cluster.training.fitting import calibrated, doubts, examples, fit, held_out, summary
from ringroad.cluster.training.judges import JudgeFailed, ModelJudge, plain
from ringroad.cluster.training.opening import open_pair
from ringroad.cluster.training.records import Records
from ringroad.cluster.training.tasks import NoTasks, Task, tasks
from ringroad.cluster.training.together import MOST, Course

app = typer.Typer(help="Train a token router, and look at one.", no_args_is_help=True)

_console = Console(stderr=True)


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where every stage leaves its file; go on there any time.")],
    config: Annotated[Path | None, Option(exists=True, dir_okay=False, help="The pair of models.")] = None,
    games: Annotated[int, Option(min=0, max=9000, help="Items of each reasoning-gym game.")] = 32,
    courses: Annotated[int, Option(min=0, max=MOST, help="Texts that both models speak.")] = 576,
    talk: Annotated[int, Option(min=0, max=96, help="Questions without a right answer.")] = 32,
    max_tokens: Annotated[int, Option(min=1, help="Of an answer.")] = 300,
    judge_url: Annotated[str, Option(help="An OpenAI-compatible endpoint that judges mismatches.")] = "",
    judge_model: Annotated[str, Option(help="The model it is asked for.")] = "",
    judge_key: Annotated[str, Option(help="The environment variable that holds its key.")] = "",
) -> None:
    """Collect, judge and learn: leaves head.safetensors and head.md in FOLDER."""
    if bool(judge_url) != bool(judge_model):
        raise typer.BadParameter("--judge-url and --judge-model go together")
    if judge_key and not (judge_url and judge_key in os.environ):
        raise typer.BadParameter(f"--judge-key {judge_key}: no judge to show it to, or no such variable")
    try:
        pair, chosen = load_config(config), tasks("train", games, talk)
        both = together.courses(courses)
        collection = Collection(folder)
        _collect(collection, chosen, both, pair, max_tokens)
        judge = ModelJudge(judge_url, judge_model, os.environ.get(judge_key, "")) if judge_url else plain
        labels = Records(folder / f"labels-{judge_model.replace('/', '-') or 'plain'}.jsonl")
        with _progress() as progress:
            for task in progress.track([t for t in chosen if t.name not in labels], description="labels"):
                said = collection.branches[task.name]
                pairs = zip(said["large"], said["small"], strict=True)
                labels.add(task.name, differs=[judge(task, large, small) for large, small in pairs])
        card = _learn(folder, collection, labels, chosen, both, pair)
        sets = Counter(task.set for task in chosen) + Counter({"texts of both models": len(both)})
        (folder / "head.md").write_text(summary(card, sets, judge_model or "rules"))
    except (NoTasks, JudgeFailed, ConfigError, ModelError, RingroadError, OSError) as error:
        typer.echo(f"ringroad: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(folder / "head.safetensors")


@app.command()
def show(path: Annotated[Path, typer.Argument(help="A head's file.")]) -> None:
    """What a head says of itself."""
    try:
        card = metadata(path)
    except RingroadError as error:
        typer.echo(f"ringroad: {error}", err=True)
        raise typer.Exit(1) from error
    Console().print(card)


def _collect(
    collection: Collection, chosen: list[Task], both: list[Course], config: ClusterConfig, most: int
) -> None:
    done = all(task.name in collection.branches for task in chosen)
    if done and all(course.name in collection.courses for course in both):
        return
    torch.set_num_threads(os.cpu_count() or 1)
    totals = {**dict.fromkeys(("answers", "sights", "branches"), len(chosen)), "courses": len(both)}
    with _progress() as progress:
        bars = {stage: progress.add_task(stage, total=total) for stage, total in totals.items()}

        def tell(stage: str, done: int) -> None:
            progress.update(bars[stage], completed=done)

        pair = open_pair(config)
        collection.collect(chosen, pair, most, tell)
        collection.follow(both, pair, most, tell)


def _learn(
    folder: Path,
    collection: Collection,
    labels: Records,
    chosen: list[Task],
    both: list[Course],
    config: ClusterConfig,
) -> Card:
    tokenizer = Tokenizer.open(locate(config.verifier.model))
    figures = {
        token for token in range(tokenizer.vocabulary) if any(map(str.isdigit, tokenizer.decode([token])))
    }
    learnt = examples(
        collection,
        labels,
        [task for task in chosen if not held_out(task)],
        [course for course in both if not held_out(course.task)],
        figures,
    )
    # What a router will meet is what it is judged by, if there is any of it.
    kept = [course for course in both if held_out(course.task)]
    own = [] if kept else [task for task in chosen if held_out(task)]
    judged = examples(collection, labels, own, kept, figures)
    net = fit(learnt, judged, lambda epoch, reached: _console.log(f"epoch {epoch}: precision {reached:.3f}"))
    large, small = (open_weights(locate(each.model)) for each in (config.verifier, config.drafter))
    card = Card(
        small=fingerprint(small),
        large=fingerprint(large),
        small_name=config.drafter.model,
        large_name=config.verifier.model,
        small_weights=config.drafter.weights,
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        **calibrated(judged, doubts(net, judged)),
    )
    write(folder / "head.safetensors", net.tensors(), card)
    return card


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=_console)
