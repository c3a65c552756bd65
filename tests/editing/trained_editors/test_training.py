"""Training of editors: targets become likelier, a stopped run goes on, the best weights are kept."""

from dataclasses import replace

import pytest
import torch

import toy
from engram.editing.facts import Fact
from engram.editing.trained_editors import editors, training
from engram.job import io, resuming
from engram.model import scoring
from engram.model.delta import NOTHING
from hypernets import DATA, HOW, KINDS, SMALL, artifact, delta_of, net_of, task_of, texts_of


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_training_makes_the_target_likelier(kind, architecture):
    """After a short training the loss on held-out records is lower, and an edit of a new fact raises its target."""
    lm = toy.lm(architecture)
    how = replace(HOW, steps=30, interval=15, rate=0.01, edit_weight=1.0, locality_weight=0.1)
    net = net_of(lm, kind)
    log = training.train(lm, net, task_of(lm), how, DATA.text_tokens, (0, "toy", "facts"))
    assert log["step"].max() == 30 and set(log["split"]) == {"train", "validation"}
    fact = Fact(0, "Thomas Rome", "{} plays", "piano")
    delta = delta_of(lm, kind, net, [fact])
    query = scoring.Query(0, texts_of(lm, [fact])[0].prompt, scoring.target_ids(lm.tokenizer, "piano"))
    before, after = (scoring.score(lm, [query], [one])[0].nll for one in (NOTHING, delta))
    assert after < before - 0.5


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_gives_the_same_bytes(kind, tmp_path):
    """Stopped after its second validation and taken up by a new process: tensors and log as of a run in one go."""
    lm, task = toy.lm(), task_of(toy.lm())
    how = replace(HOW, interval=3, steps=11)

    def run(store, name):
        net = editors.build(lm, kind, SMALL[kind], 5)
        log = training.train(lm, net, task, how, DATA.text_tokens, (0, "toy", "facts"), store)
        io.write(tmp_path / f"{name}.safetensors", artifact(net))
        io.write(tmp_path / f"{name}.csv", log)
        return [(tmp_path / f"{name}.{suffix}").read_bytes() for suffix in ("safetensors", "csv")]

    class Mortal(resuming.Store):
        def save(self, index, values, keep_earlier=True):
            super().save(index, values, keep_earlier)
            if index == 1:
                raise Killed

    whole = run(resuming.Store(), "whole")
    with pytest.raises(Killed):
        run(Mortal(tmp_path / "store"), "killed")
    resumed = resuming.Store(tmp_path / "store")
    assert resumed.latest()[0] == 2
    steps, plain = [], training._step
    training._step = lambda *args: steps.append(args[-1]) or plain(*args)
    try:
        assert run(resumed, "resumed") == whole
    finally:
        training._step = plain
    assert steps == [6, 7, 8, 9, 10], "no step is done twice"
    assert run(resuming.Store(), "again") == whole


def test_training_ends_early_with_its_best_weights():
    """No better validation for `patience` steps: the log stops there, and the best network is the one that is kept."""
    lm = toy.lm()
    net = net_of(lm, "mend")
    how = replace(HOW, steps=400, interval=2, patience=6, rate=0.03)
    log = training.train(lm, net, task_of(lm), how, DATA.text_tokens, (0, "toy", "facts"))
    checks = log[log["split"] == "validation"].set_index("step")["total"]
    assert checks.index[-1] == checks.idxmin() + 6 < 400
    run = training._Run(lm, net, how, DATA.text_tokens, (0, "toy", "facts"))
    state = training.State()
    training._validate(run, task_of(lm).validation, state)
    assert state.lowest == pytest.approx(checks.min(), rel=1e-6)


def test_the_loss_is_weighed_and_no_change_is_no_drift():
    """Total = edit_weight * edit + locality_weight * locality; an editor that changes nothing drifts by nothing."""
    lm = toy.lm()
    how = replace(HOW, edit_weight=0.3, locality_weight=2.0)
    task = task_of(lm)

    def losses(net):
        run = training._Run(lm, net.eval(), how, DATA.text_tokens, ("x",))
        return run.losses(task.train, [0, 1], [training.seeds.rng("x", i) for i in range(2)])

    found = losses(net_of(lm, "mend", edit_rate=0.05))
    assert (found["locality"] > 0).all()
    assert torch.allclose(found["total"], 0.3 * found["edit"] + 2.0 * found["locality"])
    still = losses(net_of(lm, "mend", edit_rate=1e-12))
    assert still["locality"].abs().max() < 1e-6 and (still["edit"] > found["edit"]).all()
