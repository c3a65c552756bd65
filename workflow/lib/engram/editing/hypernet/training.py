"""Training an editor: the edit should take, in other words too, and leave other text alone (ROME App. E.3, E.4).

Shapes: E edits of a step, T tokens, V vocabulary.
"""

import math
from dataclasses import dataclass, field

import pandas as pd
import torch

from engram.editing.hypernet import factors
from engram.editing.hypernet.tasks import Part, Task, window
from engram.job import progress, seeds, shards
from engram.model import tokens
from engram.settings.trained_editors import TrainingRun as Settings

PARTS = ("edit", "locality", "total")
COLUMNS = ["split", "step", *PARTS]  # of the log


@dataclass
class State:
    """What a run that is taken up again needs besides the network and Adam."""

    log: list[dict] = field(default_factory=list)
    best: dict = field(default_factory=dict)  # tensors of the network with the lowest validation loss
    lowest: float = float("inf")
    best_step: int = 0
    step: int = 0  # steps done


def train(lm, net, task: Task, settings: Settings, text_tokens: int, key: tuple, store=shards.Store()) -> pd.DataFrame:
    """Train `net` in place, to the weights of its best validation. Returns the log: split, step, edit, locality, total.

    Every step draws from its own generator, and all that changes is kept in `store` at every validation: the same bytes
    come out of a run that was stopped. DIFFERS: the reference's `cbase` weighs the drift of a base model that is
    trained along; here, as for the published editors, it is frozen, so the term is zero. ValueError if training
    diverges.
    """
    adam = torch.optim.Adam(net.groups(settings.rate, settings.edit_rate))
    run = _Run(lm, net, settings, text_tokens, key)
    done, saved = store.latest()
    state = _load(net, adam, saved["state.safetensors"]) if saved else State()
    bar = progress.bar(
        range(state.step, settings.steps), f"train {key[-1]}", "step", total=settings.steps, done=state.step
    )
    block = []  # losses since the last row of the log
    for step in bar:
        block.append(_step(run, adam, task.train, step))
        state.step = step + 1
        due = state.step % settings.interval == 0 or state.step == settings.steps
        if due or state.step % max(1, settings.interval // 10) == 0:
            state.log.append(_row("train", state.step, block))
            block = []
        if not due:
            continue
        _validate(run, task.validation, state)
        bar.set_postfix(validation=f"{state.log[-1]['total']:.4f}", refresh=False)
        store.save(done, {"state.safetensors": _saved(net, adam, state)}, keep_earlier=False)
        done += 1
        if state.step - state.best_step >= settings.patience:
            break
    net.load_state_dict(state.best)
    return pd.DataFrame(state.log, columns=COLUMNS)


@dataclass(frozen=True)
class _Run:
    lm: object
    net: torch.nn.Module
    settings: Settings
    text_tokens: int
    key: tuple

    def losses(self, part: Part, picks: list[int], rngs: list) -> dict[str, torch.Tensor]:
        """Losses [E] of the examples `picks`, each edited on its own; what is asked and the passage come from its
        generator.
        """
        lm, layers = self.lm, self.net.settings.layers
        examples = [part.examples[i] for i in picks]
        asked = [example.asked[int(rng.integers(len(example.asked)))] for example, rng in zip(examples, rngs)]
        passages = [window(part.articles[int(rng.integers(len(part.articles)))], self.text_tokens, rng) for rng in rngs]
        edited = factors.maps(lm, layers)
        inner = factors.batch_of(lm, [example.edit for example in examples], layers)
        changes = self.net(inner, factors.factors(lm, edited, inner, layers))
        outer = factors.batch_of(lm, asked, layers)
        with factors.changed(edited, changes):
            edit = factors.losses(lm, factors.above(lm, outer.ids, outer.below, layers), outer)
        locality = _drift(lm, edited, changes, passages, layers)
        total = self.settings.edit_weight * edit + self.settings.locality_weight * locality
        return {"edit": edit, "locality": locality, "total": total}


def _drift(lm, edited, changes, passages: list[list[int]], layers: int) -> torch.Tensor:
    """KL(before || after) of the predictions [E], mean over the tokens of each passage."""
    ids, lengths = tokens.pad(passages, lm.device)
    start = factors.below(lm, ids, layers)
    with torch.no_grad():
        before = factors.logits(lm, factors.above(lm, ids, start, layers)).log_softmax(-1)
    with factors.changed(edited, changes):
        after = factors.logits(lm, factors.above(lm, ids, start, layers)).log_softmax(-1)
    kl = (before.exp() * (before - after)).sum(-1)  # [E, T]
    inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return (kl * inside).sum(1) / lengths


def _step(run: _Run, adam, part: Part, step: int) -> dict[str, list[float]]:
    rng = seeds.rng(*run.key, "step", step)
    picks = [int(i) for i in rng.integers(len(part.examples), size=run.settings.edits)]
    run.net.train()
    found = run.losses(part, picks, [rng] * len(picks))
    loss = found["total"].mean()
    if not torch.isfinite(loss):
        raise ValueError(
            f"training of {run.key[-1]} diverged at step {step}: the loss is {loss.item()}; lower its rate"
        )
    adam.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), run.settings.clip)
    adam.step()
    return {name: value.tolist() for name, value in found.items()}


@torch.no_grad()
def _validate(run: _Run, part: Part, state: State) -> None:
    """The row of the validation, with the same draws every time; the network is kept if it is the best so far."""
    run.net.eval()
    found = []
    for start in range(0, len(part.examples), run.settings.edits):
        picks = list(range(start, min(start + run.settings.edits, len(part.examples))))
        losses = run.losses(part, picks, [seeds.rng(*run.key, "validation", i) for i in picks])
        found.append({name: value.tolist() for name, value in losses.items()})
    state.log.append(_row("validation", state.step, found))
    if not math.isfinite(state.log[-1]["total"]):
        raise ValueError(
            f"training of {run.key[-1]} diverged: no finite loss on the validation after step {state.step}; "
            "lower its rate"
        )
    if state.log[-1]["total"] < state.lowest:
        state.lowest, state.best_step = state.log[-1]["total"], state.step
        state.best = {name: value.clone() for name, value in run.net.state_dict().items()}


def _row(split: str, step: int, losses: list[dict[str, list[float]]]) -> dict:
    every = {name: [x for one in losses for x in one[name]] for name in PARTS}
    return {"split": split, "step": step} | {name: sum(values) / len(values) for name, values in every.items()}


def _saved(net, adam, state: State) -> tuple[dict, dict]:
    """All that changes in training, as tensors and what fits into JSON."""
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    tensors |= {
        f"adam/{index}/{name}": value
        for index, one in adam.state_dict()["state"].items()
        for name, value in one.items()
    }
    about = {"log": state.log, "lowest": state.lowest, "best_step": state.best_step, "step": state.step}
    return {name: value.clone() for name, value in tensors.items()}, about


def _load(net, adam, saved: tuple[dict, dict]) -> State:
    tensors, about = saved
    parts: dict[str, dict] = {"net": {}, "best": {}, "adam": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = value
    net.load_state_dict(parts["net"])
    moments: dict[int, dict] = {}
    for name, value in parts["adam"].items():
        index, _, what = name.partition("/")
        moments.setdefault(int(index), {})[what] = value
    adam.load_state_dict(adam.state_dict() | {"state": moments})
    device = next(net.parameters()).device
    return State(best={name: value.to(device) for name, value in parts["best"].items()}, **about)
