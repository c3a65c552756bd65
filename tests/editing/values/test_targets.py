"""Optimised values against a one-fact-at-a-time oracle through plain hooks; what may and what may not change a
value.
"""

import pytest
import torch

from crossed import crossed
from engram.editing.facts import Fact
from engram.editing.values import descent, targets
from engram.job import resuming
from targets_oracle import optimised
from toy import COARSE, PROMPTS, lm, loaded

CONTEXTS = ["{}", "Zürich is. {}", "He plays the. {}", "Zürich is. {}"]
OBJECTS = ("French", "Rome in Switzerland", "chess")
FACTS = [
    Fact(i, subject, prompt.replace(subject, "{}"), target)
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, OBJECTS))
]
ROME = targets.Settings(layer=1, steps=8, rate=0.1)
SETTINGS = {
    "rome": ROME,
    "memit": targets.Settings(layer=2, site="hidden", steps=8, rate=0.1, clamp_norm_factor=0.05, weight_decay=0.1),
    "early": targets.Settings(layer=0, site="hidden", loss_layer=2, steps=6, rate=0.1, kl_factor=1.0),
    "same layer": targets.Settings(layer=1, loss_layer=1, steps=6, rate=0.1, kl_factor=1.0, kl_position="end"),
    "next layer": targets.Settings(layer=1, loss_layer=2, steps=6, rate=0.1, kl_position="end"),
    "end": targets.Settings(layer=0, steps=6, rate=0.1, kl_factor=1.0, kl_position="end"),
    "last": targets.Settings(layer=3, steps=6, rate=0.1),
    **{
        token: targets.Settings(layer=1, token=token, steps=5, rate=0.1, kl_factor=1.0)
        for token in ("subject_first", "subject_first_after_last", "last")
    },
}


def close(found, wanted, tolerance):
    return float((found - wanted).norm()) <= tolerance * float(wanted.norm())


@pytest.mark.parametrize(("kind", "name"), crossed(SETTINGS))
def test_values_agree_with_the_oracle_in_float64(kind, name):
    model, s = loaded(kind, torch.float64), SETTINGS[name]
    # where the move reaches nothing but the looked-up token, only facts that are read there have a gradient
    facts = many(25)[16:19] if name == "same layer" or s.layer == 3 else FACTS
    found = {batch: targets.optimise(model, facts, CONTEXTS, s, batch) for batch in (1, 2)}
    for index, fact in enumerate(facts):
        value, initial, losses = optimised(model, fact, CONTEXTS, s)
        assert (value - initial).norm() > 0.003 * initial.norm(), "a value that does not move says nothing"
        for one in found.values():
            assert close(one.value[index], value, 1e-5 if kind in COARSE else 1e-8)
            assert close(one.initial[index], initial, 1e-6 if kind in COARSE else 1e-12)
            log = one.log[one.log["case_id"] == fact.case_id]
            assert list(log["step"]) == list(range(len(losses)))
            assert log["loss"].to_numpy() == pytest.approx(losses, rel=1e-5 if kind in COARSE else 1e-9)


def many(count):
    """Facts with subjects and objects of different lengths, subjects at the start, in the middle and at the very
    end.
    """
    subjects = ("Rome", "Thomas James Martin", "Beats Music", "Danielle Darrieux", "Zürich")
    prompts = (
        "{} is owned by",
        "The mother tongue of {} is",
        "What does {} do ? He plays",
        "In Rome there is {}",
        "{}",
    )
    objects = ("Apple", "chess", "the piano in Rome", "CBS", "French")
    return [Fact(100 + i, subjects[i % 5], prompts[i // 5 % 5], objects[(i + i // 5) % 5]) for i in range(count)]


def test_values_agree_with_the_oracle_in_float32():
    """Within 1e-3 of the norm, stopping at the same step for at least 95% of the facts, alone and in batches."""
    model, facts = lm("gpt2"), many(20)
    s = targets.Settings(layer=1, steps=12, rate=0.5, stop_loss=8.0)
    wanted = [optimised(model, fact, CONTEXTS, s) for fact in facts]
    for batch in (1, 8):
        found = targets.optimise(model, facts, CONTEXTS, s, batch)
        last, same = found.log.groupby("case_id")["step"].max(), []
        for index, (fact, (value, _, losses)) in enumerate(zip(facts, wanted)):
            same.append(last[fact.case_id] == len(losses) - 1)
            assert not same[-1] or close(found.value[index], value, 1e-3), fact
        assert sum(same) >= 0.95 * len(facts)
        assert last.nunique() > 2, "the facts should stop at different steps for this test to say anything"


def test_alone_no_other_fact_changes_a_bit():
    model, facts = lm("gpt2"), many(6)
    together = targets.optimise(model, facts, CONTEXTS, ROME)
    backwards = targets.optimise(model, facts[::-1], CONTEXTS, ROME)
    assert torch.equal(together.value, backwards.value.flip(0))
    for index, fact in enumerate(facts):
        one = targets.optimise(model, [fact], CONTEXTS, ROME)
        assert torch.equal(one.value[0], together.value[index]) and torch.equal(one.initial[0], together.initial[index])


def test_the_number_of_threads_changes_no_bit():
    model, facts, before = lm("gpt2"), many(6), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(targets.optimise(model, facts, CONTEXTS, ROME).value)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("clamp", [0.02, 4.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_in_a_batch_each_fact_stops_on_its_own_and_keeps_its_value(clamp, dtype, tolerance):
    model, facts = lm("gpt2", dtype), many(25)[8:18]
    s = targets.Settings(layer=1, steps=20, rate=0.5, stop_loss=8.0, clamp_norm_factor=clamp)
    together, alone = (targets.optimise(model, facts, CONTEXTS, s, batch) for batch in (5, 1))
    last = together.log.groupby("case_id")["step"].max()
    assert last.nunique() > 2 or clamp < 1, "the facts should stop at different steps for this test to say anything"
    assert last.equals(alone.log.groupby("case_id")["step"].max())
    for index in range(len(facts)):
        assert close(together.value[index], alone.value[index], tolerance)
        moved = (together.value[index] - together.initial[index]).norm()
        assert moved <= clamp * together.initial[index].norm() * (1 + 1e-5)


def test_at_a_fixed_batch_shape_the_company_changes_no_bit():
    """Facts whose texts have the same lengths and do not stop: the first is the same bits beside any of the others."""
    model, s = lm("gpt2"), targets.Settings(layer=1, steps=6, rate=0.1, stop_loss=0.0)
    facts = [Fact(i, subject, "{} is", " French") for i, subject in enumerate(("Rome", "Apple", "Martin", "James"))]
    shared = descent.plan(model, CONTEXTS, s)
    todo = [descent.work(model.tokenizer, fact, shared) for fact in facts]
    assert len({one.shape for one in todo}) == 1
    values = [descent.optimised(model, [todo[0], other], shared)[0].value for other in todo[1:]]
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


def test_shards_change_nothing_and_a_resumed_run_computes_only_what_is_missing(tmp_path, monkeypatch):
    model, facts, plain = lm("gpt2"), many(9), descent.optimised
    computed, broken = [], []

    def noted(own, chunk, *rest):
        computed.append([one.fact.case_id for one in chunk])
        if computed[-1] in broken:
            raise KeyboardInterrupt
        return plain(own, chunk, *rest)

    monkeypatch.setattr(descent, "optimised", noted)
    whole = targets.optimise(model, facts, CONTEXTS, ROME, batch=2)
    every = list(computed)
    parts = resuming.split(every, 3)
    store, broken[:] = resuming.Store(tmp_path, 3), parts[1][-1:]
    with pytest.raises(KeyboardInterrupt):
        targets.optimise(model, facts, CONTEXTS, ROME, 2, store)
    broken.clear()
    computed.clear()
    resumed = targets.optimise(model, facts, CONTEXTS, ROME, 2, store)
    assert sorted(computed) == sorted(parts[1] + parts[2]) and len(every) > len(computed)
    assert torch.equal(resumed.value, whole.value) and torch.equal(resumed.initial, whole.initial)
    assert resumed.log.equals(whole.log)


def test_out_of_memory_halves_the_batch(monkeypatch, capsys):
    model, facts, plain = lm("gpt2", torch.float64), many(6), descent.batch_of
    whole = targets.optimise(model, facts, CONTEXTS, ROME, batch=6)

    def small(own, chunk, *rest):
        if len(chunk) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(own, chunk, *rest)

    monkeypatch.setattr(descent, "batch_of", small)
    halved = targets.optimise(model, facts, CONTEXTS, ROME, batch=6)
    assert all(close(a, b, 1e-9) for a, b in zip(halved.value, whole.value))
    assert capsys.readouterr().err.count("warning: out of memory") == 1


def test_the_model_is_as_before():
    model = lm("gpt2")
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    targets.optimise(model, FACTS, CONTEXTS, ROME, batch=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.model.parameters())


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"site": "mpl"}, "site\n  Input should be 'mlp' or 'hidden'"),
        ({"kl_position": "start"}, "kl_position\n  Input should be 'subject_last' or 'end'"),
        ({"loss_layer": 0}, "loss_layer 0 lies below layer 1"),
        ({"steps": 0}, "steps\n  Input should be greater than"),
        ({"rate": -1.0}, "rate\n  Input should be greater than 0"),
    ],
)
def test_bad_settings_are_refused(more, says):
    with pytest.raises(ValueError, match=says):
        targets.Settings(**{"layer": 1, **more})


def test_bad_input_is_refused():
    model = lm("gpt2")
    with pytest.raises(ValueError, match="4 layers: no layer 7"):
        targets.optimise(model, FACTS, CONTEXTS, targets.Settings(layer=7))
    with pytest.raises(ValueError, match="4 layers: no layer 1 and loss_layer 4"):
        targets.optimise(model, FACTS, CONTEXTS, targets.Settings(layer=1, loss_layer=4))
    with pytest.raises(ValueError, match="the first must be the bare prompt"):
        targets.optimise(model, FACTS, CONTEXTS[1:], ROME)
    with pytest.raises(ValueError, match="3 facts with 2 different case_id"):
        targets.optimise(model, [*FACTS[:2], FACTS[0]], CONTEXTS, ROME)
