"""MEND and KE: their formulas against autograd, their training, their artifacts, and how they edit."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

import toy
from engram.editing import editor, records
from engram.editing.facts import Fact
from engram.editing.hypernet import editors, factors, ke, mend, published_editors, tasks, training
from engram.job import io, shards
from engram.model import block_parts, scoring
from engram.model.delta import NOTHING, place

KINDS = ("mend", "ke")
SMALL = {"mend": mend.Network(layers=2, rank=8, edit_rate=0.01), "ke": ke.Network(layers=2, hidden=16, condition=12)}
DATA = tasks.Settings(records=6, validation=2, text_tokens=12, prompt_tokens=6, completion=3, top_k=5)
HOW = training.Settings(steps=12, rate=0.003, interval=4, patience=100, edits=3, edit_rate=0.003)
NAMES = ["Thomas James Martin", "Danielle Darrieux", "Beats Music", "Martin James Thomas"]
FACTS = [
    Fact(i, name, "{} plays", target)
    for i, (name, target) in enumerate(zip(NAMES, ["chess", "the piano", "Rome", "CBS"]))
]


def net_of(lm, kind, seed=0, moved=0.0, **changes):
    """An editor, its parameters moved away from where they start by noise of size `moved`."""
    net = editors.build(lm, kind, replace(SMALL[kind], **changes), seed)
    torch.manual_seed(seed + 1)
    for value in net.parameters():
        value.data += moved * torch.randn_like(value)
    return net


def artifact(net, seen=()):
    return editors.to_artifact(net, {"seen": list(seen)})


def texts_of(lm, facts):
    return [editors.text_of(lm.tokenizer, fact.prompt.replace("{}", fact.subject), fact.target) for fact in facts]


def slopes(lm, layers, text):
    """Autograd's gradient of the mean loss of one text's target with respect to every edited weight [out, in]."""
    weights = {name: lm.model.get_parameter(name).requires_grad_(True) for name in factors.maps(lm, layers)}
    ids = torch.tensor([[*text.prompt, *text.target]])
    predicted = lm.model(input_ids=ids).logits[0, len(text.prompt) - 1 : -1].log_softmax(-1)
    loss = -predicted[range(len(text.target)), list(text.target)].mean()
    found = torch.autograd.grad(loss, list(weights.values()))
    lm.model.requires_grad_(False)
    return {name: slope.T if lm.arch.conv1d else slope for name, slope in zip(weights, found)}


def delta_of(lm, kind, net, facts, scale=1.0):
    return editor.load(kind).edit(lm, facts, editor.load(kind).Settings(scale), SimpleNamespace(hypernet=artifact(net)))


def close(found, wanted, tolerance=2e-5):
    return (found - wanted).norm() <= tolerance * wanted.norm()


# -- the factors of a gradient


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
@pytest.mark.parametrize("layers", [1, 3, toy.LAYERS])
def test_factors_are_those_of_the_gradient(kind, layers):
    """Sum over tokens of v uT is autograd's gradient, for texts of different lengths in one batch."""
    lm = toy.lm(kind)
    texts = texts_of(lm, FACTS)
    batch = factors.batch_of(lm, texts, layers)
    found = factors.factors(lm, factors.maps(lm, layers), batch, layers)
    assert len(found) == layers * (3 if block_parts.parts_of(lm).gated and kind != "phi3" else 2)
    for row, text in enumerate(texts):
        for name, wanted in slopes(lm, layers, text).items():
            u, v = (side[row] for side in found[name])
            assert close(v.T @ u, wanted), name
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_changed_row_is_a_changed_model():
    """Row b of a batch under `changed` is the model with W + left_bT right_b, and gradients flow into both sides."""
    lm = toy.lm("gpt2")
    edited = factors.maps(lm, 2)
    ids = torch.randint(0, 300, (2, 7), generator=torch.Generator().manual_seed(0))
    changes = {
        name: tuple((0.1 * torch.randn(2, 3, size)).requires_grad_() for size in place(lm, name).weight.shape)
        for name in edited
    }
    with factors.changed(edited, changes):
        batched = factors.above(lm, ids, factors.below(lm, ids, 2), 2)
    assert all(side.grad is None for sides in changes.values() for side in sides)
    batched.sum().backward()
    assert all(side.grad.any() for sides in changes.values() for side in sides)
    for row in range(2):
        one = copy.deepcopy(lm.model)
        for name, (left, right) in changes.items():
            one.get_parameter(name).data += (left[row].T @ right[row]).T.detach()
        assert torch.allclose(one.transformer(ids[row][None]).last_hidden_state, batched[row], atol=1e-4)


# -- the updates against their formulas


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_untrained_mend_is_a_scaled_gradient_step(kind):
    lm = toy.lm(kind)
    net = net_of(lm, "mend")
    for fact, text in zip(FACTS, texts_of(lm, FACTS)):
        delta = delta_of(lm, "mend", net, [fact], 3.0)
        for name, wanted in slopes(lm, 2, text).items():
            assert close(delta.dense(name), -3.0 * 0.01 * wanted)


def plain_mend(net, u, v, name):
    """The network of one weight, token by token, as spec 4.4 has it."""
    group, mode = net.place[name]
    shared, total = net.nets[group], 0
    count, mean, square = (getattr(shared.statistics, key) for key in ("count", "mean", "square"))
    for u_t, v_t in zip(u, v):
        if not u_t.any() or not v_t.any():
            continue
        x = ((torch.cat([u_t, v_t]).double() - mean) / ((square / (count - 1)).sqrt() + 1e-7)).float()
        for index, layer in enumerate(shared.layers):
            inner = layer.scale[mode] * (layer.up @ (layer.down @ x) + layer.bias) + layer.offset[mode]
            x = x + (inner.relu() if index == 0 else inner)
        total = total + torch.outer(x[len(u_t) :], x[: len(u_t)])
    return -net.rates[list(net.shapes).index(name)] * total


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_mend_against_its_formula(kind):
    """A moved network, statistics of some texts, another text: the change is what a loop over its tokens gives."""
    lm = toy.lm(kind)
    net = net_of(lm, "mend", moved=0.1)
    batch = factors.batch_of(lm, texts_of(lm, FACTS), 2)
    edited = factors.maps(lm, 2)
    net.train()(batch, factors.factors(lm, edited, batch, 2))
    text = texts_of(lm, FACTS[:1])
    one = factors.batch_of(lm, text, 2)
    found = factors.factors(lm, edited, one, 2)
    delta = delta_of(lm, "mend", net, FACTS[:1])
    with torch.no_grad():
        for name in edited:
            assert close(delta.dense(name), plain_mend(net, *(side[0] for side in found[name]), name))


def test_statistics_are_those_of_all_vectors():
    """Mean and deviation of everything seen, however it was cut into batches; nothing before two vectors."""
    x = torch.randn(37, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    found = mend.Statistics(5)
    found.update(x[:1])
    assert torch.equal(found(x), x)
    for part in (x[1:1], x[1:4], x[4:30], x[30:]):
        found.update(part)
    assert torch.allclose(found(x), (x - x.mean(0)) / x.std(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_ke_against_its_formula(kind):
    """max_scale * sigmoid(gate) * (autograd's gradient * (linear x softmax) + linear x softmax), text by text."""
    lm = toy.lm(kind)
    net = net_of(lm, "ke", moved=0.3, max_scale=0.7)
    for fact, text in zip(FACTS, texts_of(lm, FACTS)):
        reader = net.reader
        states = reader.lstm(reader.embedding(torch.tensor([[*text.prompt, *text.target]])))[0][0]
        half = net.settings.hidden
        ends = torch.cat([states[-1, :half], states[0, half:]])  # where each direction has read everything
        condition = (reader.linear.weight @ ends + reader.linear.bias).tanh()
        delta = delta_of(lm, "ke", net, [fact])
        for name, slope in slopes(lm, 2, text).items():
            out, into = slope.shape
            first, last = net.conditioners[ke.slot(name)][0], net.conditioners[ke.slot(name)][2]
            values = last.weight @ (first.weight @ condition + first.bias).tanh() + last.bias
            a, row_a, b, row_b, gate = values.split([out, into, out, into, 1])
            wanted = (
                0.7 * gate.sigmoid() * (slope * torch.outer(a, row_a.softmax(0)) + torch.outer(b, row_b.softmax(0)))
            )
            assert close(delta.dense(name), wanted)


# -- the contract of a method


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_an_edit_leaves_the_weights_alone_and_is_the_same_twice(kind, architecture):
    lm = toy.lm(architecture)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    net = net_of(lm, kind, moved=0.1)
    first, second = (delta_of(lm, kind, net, FACTS[:1]) for _ in range(2))
    assert all(torch.equal(first.dense(name), second.dense(name)) for name in factors.maps(lm, 2))
    with pytest.raises(ValueError, match="prompt and a target"):
        delta_of(lm, kind, net, [Fact(0, "", "{}", "x")])
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not any(module._forward_hooks or "forward" in vars(module) for module in lm.model.modules())


@pytest.mark.parametrize("copies", [1, 40])
def test_mend_sums_over_facts(copies):
    """Many facts at once are the sum of their single changes; dense as soon as that is smaller. KE refuses."""
    lm = toy.lm("gpt2")
    net = net_of(lm, "mend", moved=0.1)
    together = delta_of(lm, "mend", net, FACTS[:2] * copies, 0.5)
    single = [delta_of(lm, "mend", net, [fact], 0.5) for fact in FACTS[:2]]
    for name in together.parts:
        assert close(together.dense(name), copies * sum(delta.dense(name) for delta in single), 1e-4)
        assert isinstance(together.parts[name], tuple) == (copies == 1)
    with pytest.raises(ValueError, match="ke edits one fact at a time, asked for 2"):
        delta_of(lm, "ke", net_of(lm, "ke"), FACTS[:2])


def test_an_artifact_of_another_kind_or_model_is_refused():
    lm = toy.lm("gpt2")
    tensors, about = artifact(net_of(lm, "mend"))
    with pytest.raises(ValueError, match="of kind 'mend', expected 'ke'"):
        editors.restore(lm, "ke", tensors, about)
    with pytest.raises(ValueError, match="made for another model"):
        editors.restore(toy.lm("gpt2", width=16), "mend", tensors, about)
    with pytest.raises(ValueError, match="unknown keys"):
        editors.settings_of("ke", {"rank": 3})


# -- training


def tables():
    """Twelve records of both shapes, and some text."""
    names = [f"{a} {b}" for a in ("Thomas", "Martin", "James") for b in ("Rome", "French", "Apple", "Zürich")]
    facts = pd.DataFrame(
        [
            {
                "case_id": i,
                "subject": name,
                "prompt": "{} plays",
                "target_new": "chess" if i % 2 else "piano",
                "paraphrase_prompts": [f"What does {name} do ? {name} plays the"],
            }
            for i, name in enumerate(names)
        ]
    )
    zsre = pd.DataFrame(
        [
            {
                "case_id": i,
                "subject": name,
                "prompt": "What does {} do ?",
                "target_new": "chess",
                "rephrase": f"{name} plays",
            }
            for i, name in enumerate(names)
        ]
    )
    return {"facts": facts, "zsre": zsre, "text": pd.DataFrame({"text": toy.TEXT})}


def task_of(lm, name="facts", edited=4, data=DATA, seed=0):
    found = tables()
    return tasks.make(
        lm, name, found, found["zsre" if name == "zsre" else "facts"].head(edited), data, (seed, "toy", name)
    )


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


@pytest.mark.parametrize("name", tasks.TASKS)
def test_no_evaluated_record_is_trained_on(name):
    """Whatever is edited: neither its record nor the same question about its subject is in the training split."""
    lm, found = toy.lm(), tables()
    table = found["zsre" if name == "zsre" else "facts"]
    for edited in (1, 4, 9):
        evaluated = records.chosen(table, pd.DataFrame({"case_id": table["case_id"], "correct": True}), edited, True)
        task = tasks.make(lm, name, found, evaluated, DATA, (0, "toy", name))
        used = {case for cases in task.about["case_id"].values() for case in cases}
        assert not used & set(evaluated["case_id"])
        if name == "gen":
            assert used == set() and len(task.train.examples) == 6
            continue
        parts = task.about["case_id"]
        assert parts["validation"] == [10, 11] and not set(parts["train"]) & set(parts["validation"])
        assert parts["train"] == list(range(max(4, edited), 10)), "from the end of the table"
        asked = {
            text.prompt for part in (task.train, task.validation) for example in part.examples for text in example.asked
        }
        for fact in records.to_facts(evaluated):
            assert texts_of(lm, [fact])[0].prompt not in asked
            assert editors.mark(fact.subject, fact.prompt) not in task.about["seen"]
    if name != "gen":
        with pytest.raises(ValueError, match="2 of 12 records are not edited: too few"):
            tasks.make(lm, name, found, table.head(10), DATA, (0, "toy", name))
    with pytest.raises(ValueError, match="text_tokens is 65, but model toy-gpt2 reads at most 64"):
        task_of(lm, name, data=replace(DATA, text_tokens=65))


def test_a_record_too_long_for_the_model_is_named():
    found = tables()
    found["facts"]["paraphrase_prompts"] = [["chess " * 40 + "{}"]] * len(found["facts"])
    with pytest.raises(ValueError, match=r"reads at most 64 tokens, but this text .* chess chess"):
        tasks.make(toy.lm(), "facts", found, found["facts"].head(2), DATA, (0, "toy"))


def test_an_edit_of_a_record_that_was_trained_on_is_refused():
    lm = toy.lm()
    task = task_of(lm)
    fact = records.to_facts(tables()["facts"].iloc[[7]])[0]
    with pytest.raises(ValueError, match=r"case 7 \('Martin Zürich', '\{\} plays'\) is in the training split"):
        editors.edit(lm, "mend", [fact], 1.0, artifact(net_of(lm, "mend"), task.about["seen"]))


def test_completions_are_the_models_own_and_independent_of_the_batch():
    """Each is what sampling its prompt alone gives; with one token to choose from, it is greedy."""
    lm = toy.lm()
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    keys = [("x", i) for i in range(3)]
    together = tasks.complete(lm, prompts, keys, 4, 7)
    assert together == [tasks.complete(lm, [prompt], [key], 4, 7)[0] for prompt, key in zip(prompts, keys)]
    assert together == tasks.complete(lm, prompts, keys, 4, 7, rows=2) != tasks.complete(lm, prompts, keys[::-1], 4, 7)
    greedy = tasks.complete(lm, prompts, keys, 4, 1)
    for prompt, found in zip(prompts, greedy):
        ids = list(prompt)
        for token in found:
            assert int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)
    examples = task_of(lm, "gen").train.examples
    assert all(
        text.target == one.edit.target and one.edit.prompt[-len(text.prompt) :] == text.prompt
        for one in examples
        for text in one.asked
    )


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

    class Mortal(shards.Store):
        def save(self, index, values, alone=False):
            super().save(index, values, alone)
            if index == 1:
                raise Killed

    whole = run(shards.Store(), "whole")
    with pytest.raises(Killed):
        run(Mortal(tmp_path / "store"), "killed")
    resumed = shards.Store(tmp_path / "store")
    assert resumed.latest()[0] == 2
    steps, plain = [], training._step
    training._step = lambda *args: steps.append(args[-1]) or plain(*args)
    try:
        assert run(resumed, "resumed") == whole
    finally:
        training._step = plain
    assert steps == [6, 7, 8, 9, 10], "no step is done twice"
    assert run(shards.Store(), "again") == whole


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
    still = losses(net_of(lm, "mend", edit_rate=0.0))
    assert still["locality"].abs().max() < 1e-6 and (still["edit"] > found["edit"]).all()


# -- published editors


def published_mend(lm, net):
    """`net` as a published file would hold it, by the names of the public code."""
    found = {"edit_lrs": -net.rates.data, "model_config": lm.model.config}
    for group, shared in net.nets.items():
        into, out = map(int, group.split("x"))
        there, seen = f"gtn.({into}, {out})", shared.statistics
        spread = (seen.square / (seen.count - 1)).sqrt()
        for name, values in (("mean", seen.mean), ("s", seen.square), ("std", spread)):
            found |= {f"{there}.u_{name}": values[:into].float(), f"{there}.v_{name}": values[into:].float()}
        found[f"{there}.k"] = seen.count.float()
        for index, layer in enumerate(shared.layers):
            at = f"{there}.mlp.layers.{index}"
            found |= {
                f"{at}.u": layer.up.data,
                f"{at}.v": layer.down.data,
                f"{at}.bias": layer.bias.data,
                f"{at}.mode_scale.weight": layer.scale.data,
                f"{at}.mode_shift.weight": layer.offset.data,
            }
    return found


def published_ke(lm, net):
    found = {"model_config": lm.model.config, "editor.condition.embedding.weight": net.reader.embedding.weight.data}
    found |= {f"editor.condition.lstm._module.{name}": value.data for name, value in net.reader.lstm.named_parameters()}
    found |= {
        f"editor.condition.linear._linear_layers.0.{name}": value.data
        for name, value in net.reader.linear.named_parameters()
    }
    for slot, conditioner in net.conditioners.items():
        for layer in (0, 2):
            at, inner = f"editor.conditioners.{slot}_conditioner.conditioners.{layer}", conditioner[layer]
            found |= {
                f"{at}.weight_g": inner.parametrizations.weight.original0.data,
                f"{at}.weight_v": inner.parametrizations.weight.original1.data,
                f"{at}.bias": inner.bias.data,
            }
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_editor_edits_as_it_did(kind, tmp_path):
    """Written by the names of the public code and read back: the same change; what does not fit is named."""
    lm = toy.lm("gpt2")
    net = net_of(lm, kind, moved=0.1, layers=3)
    if kind == "mend":
        batch = factors.batch_of(lm, texts_of(lm, FACTS), 3)
        net.train()(batch, factors.factors(lm, factors.maps(lm, 3), batch, 3))
    tensors = {"mend": published_mend, "ke": published_ke}[kind](lm, net)
    torch.save({"model": tensors, "step": 7}, tmp_path / "good.pt")
    loaded = published_editors.load(tmp_path / "good.pt", lm, kind)
    module = editor.load(kind)
    found = module.edit(lm, FACTS[:1], module.Settings(), SimpleNamespace(hypernet=loaded))
    wanted = delta_of(lm, kind, net, FACTS[:1])
    assert all(close(found.dense(name), wanted.dense(name), 1e-5) for name in wanted.parts)
    some = next(name for name in tensors if name.endswith("bias"))
    for change, message in (
        ({"more": torch.ones(1)}, r"has not: \['more'\]"),
        ({some: None}, "no tensor"),
        ({some: torch.ones(3)}, "has shape|size mismatch"),
    ):
        torch.save({"model": {k: v for k, v in (tensors | change).items() if v is not None}}, tmp_path / "bad.pt")
        with pytest.raises((ValueError, RuntimeError), match=message):
            editors.restore(lm, kind, *published_editors.load(tmp_path / "bad.pt", lm, kind))


def test_a_published_file_that_could_run_code_is_refused(tmp_path):
    lm = toy.lm("gpt2")
    torch.save({"model": {"edit_lrs": nn.Linear(2, 2)}}, tmp_path / "object.pt")
    with pytest.raises(ValueError, match=r"object.pt: cannot be loaded as tensors alone"):
        published_editors.load(tmp_path / "object.pt", lm, "mend")
    (tmp_path / "broken.pt").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"broken.pt: cannot be loaded"):
        published_editors.load(tmp_path / "broken.pt", lm, "mend")
    torch.save({"state": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="under the key 'model'"):
        published_editors.load(tmp_path / "other.pt", lm, "mend")
