"""Trains a head on what was collected, and finds out what its doubts are worth."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from ringroad.actors.head.card import Card
from ringroad.actors.messages import Features
from ringroad.actors.router.policies import LEARNED, RULES
from ringroad.cluster.training.collecting import Collection
from ringroad.cluster.training.records import Records
from ringroad.cluster.training.tasks import Task
from ringroad.cluster.training.together import Course
from ringroad.kernels.head import EPS, Sight, inputs

BUCKETS, NARROW, INNER, WIDE, BLOCKS = 4096, 28, 256, 1024, 2
HELD_OUT = 0.15  # of the tasks: never learnt from, for choosing when to stop and for calibration
BATCH, RATE, DECAY, DROPPED, EPOCHS = 1024, 5e-4, 5e-2, 0.1, 12
# Of the tokens that matter, those that the default threshold has to catch. (R2R takes 0.95, which asks for
# more consults.)
RECALL = 0.9
OTHER = 0.3  # what another token counts for that seems not to matter
QUANTILES = 33
READ = ("hidden", "tops", "tokens", "margin", "entropy", "top", "matters", "differs")
CALIBRATED = (LEARNED, "margin", "entropy", "max-prob")  # the others know no pair of models


@dataclass(frozen=True)
class Examples:
    """Tokens of all answers, one row each."""

    seen: Sight
    matters: Tensor  # [rows] bool: the small model's token would have changed what is said
    differs: Tensor  # [rows] bool: it is another token
    features: Features

    def rows(self, chosen: Tensor) -> tuple[Sight, Tensor]:
        """Of some rows, what is learnt from and what is learnt.

        Another token that seems not to matter is learnt as OTHER of one that does. R2R learns it as none;
        but a judge that looks at one sentence lets pass what costs the answer later (docs/routing.md).
        """
        seen = Sight(self.seen.hidden[chosen], self.seen.tops[chosen], self.seen.tokens[chosen])
        return seen, self.differs[chosen] * (OTHER + (1 - OTHER) * self.matters[chosen].float())

    def __len__(self) -> int:
        return len(self.matters)


def examples(
    collection: Collection,
    labels: Records,
    tasks: Sequence[Task],
    courses: Sequence[Course] = (),
    figures: Container[int] = (),
) -> Examples:
    """What the stages have left of some tasks and courses. Of these nobody has judged what matters: it is
    `figures`, tokens with a digit, in place of other tokens or these in place of them."""
    parts: dict[str, list[Tensor]] = {}
    everything: list[Task | Course] = [*tasks, *courses]
    for each in everything:
        seen = collection.sights(each.name)
        differs = seen["tokens"] != seen["spoken"]
        matters = differs.clone()
        if isinstance(each, Task):
            matters[differs] = torch.tensor(labels[each.name]["differs"], dtype=torch.bool)
        else:
            pairs = zip(seen["tokens"][differs].tolist(), seen["spoken"][differs].tolist(), strict=True)
            told = [small in figures or large in figures for small, large in pairs]
            matters[differs] = torch.tensor(told, dtype=torch.bool)
        seen |= {"matters": matters, "differs": differs}
        for name in READ:
            tensor = seen[name]
            parts.setdefault(name, []).append(tensor)
    all_of = {name: torch.cat(each) for name, each in parts.items()}
    features = Features(*(all_of[name].tolist() for name in ("margin", "entropy", "top")))
    sight = Sight(all_of["hidden"], all_of["tops"], all_of["tokens"])
    return Examples(sight, all_of["matters"], all_of["differs"], features)


def held_out(task: Task) -> bool:
    """Whether a task is kept from learning: by its name, so that more tasks change no other's side."""
    return blake2b(task.name.encode(), digest_size=2).digest() < round(HELD_OUT * 65536).to_bytes(2, "big")


class Block(nn.Module):
    """x + down(relu(up(norm(x))))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(INNER, EPS)
        self.up, self.down = nn.Linear(INNER, WIDE), nn.Linear(WIDE, INNER)
        self.drop = nn.Dropout(DROPPED)

    def forward(self, rows: Tensor) -> Tensor:
        """[rows, INNER] -> [rows, INNER]."""
        found: Tensor = rows + self.drop(self.down(torch.relu(self.up(self.norm(rows)))))
        return found


class Net(nn.Module):
    """`kernels/head.py` in a form that learns; the dataset's own mean and spread are its first layer's."""

    def __init__(self, mean: Tensor, spread: Tensor) -> None:
        """mean, spread: of each input but the token's, [width + TOPS] fp32."""
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.token = nn.Parameter(0.02 * torch.randn(BUCKETS, NARROW))
        self.first = nn.Linear(len(mean) + NARROW, INNER)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.RMSNorm(INNER, EPS)
        self.out = nn.Linear(INNER, 1)
        self.drop = nn.Dropout(DROPPED)

    def forward(self, seen: Sight) -> Tensor:
        """Log-odds that a token matters: [rows] fp32."""
        rows = inputs(seen, self.token)
        plain = (rows[:, : len(self.mean)] - self.mean) / self.spread
        rows = self.first(self.drop(torch.cat([plain, rows[:, len(self.mean) :]], 1)))
        for block in self.blocks:
            rows = block(rows)
        odds: Tensor = self.out(self.norm(rows))[:, 0]
        return odds

    def tensors(self) -> dict[str, Tensor]:
        """What `kernels.head.Head` is made of, bf16."""
        weight, bias = self.first.weight.detach().clone(), self.first.bias.detach().clone()
        weight[:, : len(self.mean)] /= self.spread
        bias -= weight[:, : len(self.mean)] @ self.mean
        found: dict[str, Tensor] = {"token": self.token, "in.weight": weight, "in.bias": bias}
        found |= {"norm": self.norm.weight, "out.weight": self.out.weight, "out.bias": self.out.bias}
        for n, block in enumerate(self.blocks):
            named = block.state_dict()
            found[f"blocks.{n}.norm"] = named.pop("norm.weight")
            found |= {f"blocks.{n}.{name}": tensor for name, tensor in named.items()}
        return {name: tensor.detach().bfloat16().contiguous() for name, tensor in found.items()}


def fit(learnt: Examples, judged: Examples, tell: Callable[[int, float], None], seed: int = 0) -> Net:
    """The net of the epoch that ranks held-out tokens best. `tell`: an epoch, and its average precision."""
    torch.manual_seed(seed)
    plain = torch.cat([learnt.seen.hidden.float(), learnt.seen.tops - learnt.seen.tops[:, :1]], 1)
    net = Net(plain.mean(0), plain.std(0) + 1e-3)
    del plain
    _, every = learnt.rows(torch.arange(len(learnt)))
    positive = every.mean().clamp(min=1 / len(learnt))  # where nothing matters: no weight
    loss = nn.BCEWithLogitsLoss(pos_weight=(1 - positive) / positive)
    steps = EPOCHS * (len(learnt) // BATCH + 1)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    best, kept = -1.0, net.state_dict()
    for epoch in range(EPOCHS):
        net.train()
        for chosen in torch.split(torch.randperm(len(learnt)), BATCH):
            seen, wanted = learnt.rows(chosen)
            optimiser.zero_grad()
            loss(net(seen), wanted).backward()
            optimiser.step()
            schedule.step()
        reached = average_precision(doubts(net, judged), judged.differs)
        tell(epoch, reached)
        if reached > best:
            best, kept = reached, {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(kept)
    scale(net, judged)
    return net.eval()


def scale(net: Net, judged: Examples) -> None:
    """Makes a doubt the probability that the large model says another token, as far as a slope and a shift
    can (Platt 1999): learnt with weights, from few texts, it is not. No token changes its rank."""
    if not 0 < judged.differs.sum() < len(judged):
        return
    odds, some = torch.logit(doubts(net, judged).double(), 1e-12), judged.differs.sum().double()
    # Not quite 1 and 0, as Platt has it: where no token is on the wrong side the slope would have no end.
    wanted = torch.where(judged.differs, (some + 1) / (some + 2), 1 / (len(judged) - some + 2))
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log of the slope, and the shift
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def lost() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(line[0].exp() * odds + line[1], wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(lost)  # type: ignore[no-untyped-call]
    slope, shift = float(line.detach()[0].exp()), float(line.detach()[1])
    with torch.no_grad():
        net.out.weight *= slope
        net.out.bias.mul_(slope).add_(shift)


@torch.no_grad()
def doubts(net: Net, judged: Examples) -> Tensor:
    """Of every row, [rows] fp32 in [0, 1]."""
    net.eval()
    found = [
        torch.sigmoid(net(judged.rows(chosen)[0]))
        for chosen in torch.split(torch.arange(len(judged)), 4 * BATCH)
    ]
    return torch.cat(found)


def average_precision(scores: Tensor, wanted: Tensor) -> float:
    """The mean precision over all recalls: 1 where every wanted row stands before all others."""
    hits = wanted[scores.argsort(descending=True)].float()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum().clamp(min=1))


def calibrated(judged: Examples, learned: Tensor) -> dict[str, Any]:
    """What held-out tokens tell, for a card: threshold, recall, quantiles of every rule's doubt, figures."""
    seen = judged.features
    features = Features(seen.margin, seen.entropy, seen.top, [], learned.tolist())
    found = {
        name: torch.tensor([*map(rule.doubt, getattr(features, rule.reads))], dtype=torch.float64)
        for name, rule in ((name, RULES[name]) for name in CALIBRATED)
    }
    threshold = cautious(found[LEARNED], judged.matters)
    at = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return {
        "threshold": threshold,
        "recall": _share(found[LEARNED][judged.matters] >= threshold),
        "quantiles": {name: _rounded(torch.quantile(doubt, at)) for name, doubt in found.items()},
        "figures": {
            "tokens": float(len(judged)),
            "consulted": _share(found[LEARNED] >= threshold),
            "matter": _share(judged.matters),
            "differ": _share(judged.differs),
            **{
                f"precision {name}": round(average_precision(doubt, judged.matters), 4)
                for name, doubt in found.items()
            },
        },
    }


def cautious(scores: Tensor, matters: Tensor) -> float:
    """Of 99 thresholds the highest that catches RECALL of what matters: the one with fewest consults."""
    thresholds = [n / 100 for n in range(1, 100)]
    enough = [t for t in thresholds if bool(matters.any()) and _share(scores[matters] >= t) >= RECALL]
    return max(enough, default=thresholds[0])


def summary(card: Card, sets: Mapping[str, int], judge: str) -> str:
    """A head's model card, for people. `sets`: how many tasks it was made of, by set."""
    figures = card.figures
    rows = [f"| {name} | {figures[f'precision {name}']:.3f} |" for name in CALIBRATED]
    lines = [
        f"# A token router for {card.small_name} ({card.small_weights}) and {card.large_name}",
        "",
        f"Trained {card.date} by `ringroad router train`, on tasks of which the final figures use none:",
        ", ".join(f"{count} of {name}" for name, count in sets.items()) + ".",
        f"What matters was judged by {judge}.",
        "",
        f"On {figures['tokens']:.0f} tokens of tasks held out the small model would have spoken another",
        f"token in {figures['differ']:.1%} of all places, and one that matters in {figures['matter']:.1%}.",
        f"At the default threshold {card.threshold} the large model is consulted on",
        f"{figures['consulted']:.1%} of all tokens, and on {card.recall:.1%} of those that matter.",
        "",
        "| rule | average precision, held out |",
        "| --- | --- |",
        *rows,
        "",
        f"Fingerprints: small {card.small}, large {card.large}.",
    ]
    return "\n".join(lines) + "\n"


def _share(chosen: Tensor) -> float:
    return round(float(chosen.double().mean()), 4) if len(chosen) else 0.0


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
