"""Training an editor: the edit should take, in other words too, and leave other text alone (ROME App. E.3, E.4).

Shapes: E edits of a step, T tokens, V vocabulary.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from engram.editing.trained_editors import factors
from engram.editing.trained_editors.editors import Net
from engram.editing.trained_editors.tasks import Part, Task, window
from engram.job import progress, resuming, seeds
from engram.model import tokens
from engram.model.loading import LM
from engram.settings.trained_editors import TrainingRun as Settings

PARTS = ("edit", "locality", "total")
COLUMNS = ["split", "step", *PARTS]  # of the log


@dataclass
class State:
    """What a run that is taken up again needs besides the network and Adam."""

    log: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(
        default_factory=dict
    )  # tensors of the network with the lowest validation loss
    lowest: float = float("inf")
    best_step: int = 0
    step: int = 0  # steps done


def train(
    lm: LM, net: Net, task: Task, settings: Settings, text_tokens: int, key: tuple, store: resuming.Store | None = None
) -> pd.DataFrame:
    """Train `net` in place, to the weights of its best validation. Returns the log: split, step, edit, locality, total.

    `text_tokens` is the length of the passages whose predictions should stay. Every step draws from its own generator,
    seeded by `key`, and all that changes is kept in `store` at every validation: the same bytes come out of a run that
    was stopped. DIFFERS: the reference's `cbase` weighs the drift of a base model that is trained along; here, as for
    the published editors, it is frozen, so the term is zero. ValueError if training diverges.
    """
    adam = torch.optim.Adam(net.groups(settings.rate, settings.edit_rate))
    run = _Run(lm, net, settings, text_tokens, key)
    store = store or resuming.Store()
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
    """One training: the model, the editor, and how it is trained."""

    lm: LM
    net: Net
    settings: Settings
    text_tokens: int
    key: tuple

    def losses(self, part: Part, picks: list[int], rngs: list[np.random.Generator]) -> dict[str, torch.Tensor]:
        """Losses (PARTS) [E] of the examples `picks`, each edited on its own.

        The generator of an example draws how it is asked for, and its passage.
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


def _drift(
    lm: LM, edited: dict[str, torch.nn.Module], changes: factors.Sides, passages: list[list[int]], layers: int
) -> torch.Tensor:
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


def _step(run: _Run, adam: torch.optim.Adam, part: Part, step: int) -> dict[str, list[float]]:
    """Make step number `step`; returns the losses of its edits by PARTS."""
    rng = seeds.rng(*run.key, "step", step)
    picks = [int(i) for i in rng.integers(len(part.examples), size=run.settings.edits)]
    run.net.train()
    losses = run.losses(part, picks, [rng] * len(picks))
    loss = losses["total"].mean()
    if not torch.isfinite(loss):
        raise ValueError(
            f"training of {run.key[-1]} diverged at step {step}: the loss is {loss.item()}; lower its rate"
        )
    adam.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), run.settings.clip)
    adam.step()
    return {name: value.tolist() for name, value in losses.items()}


@torch.no_grad()
def _validate(run: _Run, part: Part, state: State) -> None:
    """Add the row of the validation to the log, with the same draws every time; keep the network if it is the best."""
    run.net.eval()
    blocks = []
    for start in range(0, len(part.examples), run.settings.edits):
        picks = list(range(start, min(start + run.settings.edits, len(part.examples))))
        losses = run.losses(part, picks, [seeds.rng(*run.key, "validation", i) for i in picks])
        blocks.append({name: value.tolist() for name, value in losses.items()})
    state.log.append(_row("validation", state.step, blocks))
    if not math.isfinite(state.log[-1]["total"]):
        raise ValueError(
            f"training of {run.key[-1]} diverged: no finite loss on the validation after step {state.step}; "
            "lower its rate"
        )
    if state.log[-1]["total"] < state.lowest:
        state.lowest, state.best_step = state.log[-1]["total"], state.step
        state.best = {name: value.clone() for name, value in run.net.state_dict().items()}


def _row(split: str, step: int, losses: list[dict[str, list[float]]]) -> dict[str, Any]:
    """A row of the log: the means over all edits of several blocks of losses."""
    every = {name: [loss for block in losses for loss in block[name]] for name in PARTS}
    return {"split": split, "step": step} | {name: sum(values) / len(values) for name, values in every.items()}


def _saved(net: Net, adam: torch.optim.Adam, state: State) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that changes in training, as tensors and as what fits into JSON."""
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    tensors |= {
        f"adam/{index}/{name}": value
        for index, values in adam.state_dict()["state"].items()
        for name, value in values.items()
    }
    about = {"log": state.log, "lowest": state.lowest, "best_step": state.best_step, "step": state.step}
    return {name: value.clone() for name, value in tensors.items()}, about


def _load(net: Net, adam: torch.optim.Adam, saved: tuple[dict[str, torch.Tensor], dict[str, Any]]) -> State:
    """Put `net` and `adam` back to where `_saved` found them; returns the rest of it."""
    tensors, about = saved
    parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "best": {}, "adam": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = value
    net.load_state_dict(parts["net"])
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in parts["adam"].items():
        index, _, what = name.partition("/")
        moments.setdefault(int(index), {})[what] = value
    adam.load_state_dict(adam.state_dict() | {"state": moments})
    device = next(net.parameters()).device
    return State(best={name: value.to(device) for name, value in parts["best"].items()}, **about)
