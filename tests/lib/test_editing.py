"""ROME: targets against a one-fact-at-a-time oracle through plain hooks, and the theorems about the update."""

import pytest
import torch

from engram import covariance, memory, methods, targets
from engram.delta import Delta, applied, edited
from engram.hooks import captured, hooked, resumed
from engram.methods import rome
from toy import PROMPTS, lm

KINDS = ("gpt2", "gptj", "gpt_neox", "llama")
CONTEXTS = ["{}", "Zürich is. {}", "He plays the. {}"]
FACTS = [memory.Fact(i, subject, prompt.replace(subject, "{}"), target)
         for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))]


def settings(**more):
    return targets.Settings(layer=1, **{"steps": 8, "rate": 0.1, **more})


def oracle_values(model, fact, contexts, s):
    """v* of one fact the slow way: a full hooked forward per step, every text on its own, plain Adam by hand."""
    tok, goal = model.tokenizer, memory.target_tokens(model.tokenizer, fact)
    rows = memory.lookups(tok, fact, contexts, goal[:-1])
    ess = memory.essence(tok, fact)
    with captured({"mlp": model.module("mlp", s.layer)}) as kept, torch.no_grad():
        model.model(input_ids=torch.tensor([rows[0].ids]))
        initial = kept["mlp"][0, rows[0].position]

    def forward(row, delta):
        def hook(_m, _i, output):
            add = torch.zeros_like(output)
            add[0, row.position] = delta
            return output + add
        with hooked((model.module("mlp", s.layer), hook)):
            return model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)

    with torch.no_grad():
        before = forward(ess, torch.zeros_like(initial))[ess.position]
    delta = torch.zeros_like(initial, requires_grad=True)
    m, v, step = torch.zeros_like(initial), torch.zeros_like(initial), 0
    for step in range(s.steps):
        nll = sum(-forward(row, delta)[len(row.ids) - len(goal):][torch.arange(len(goal)), list(goal)].mean() for row in rows)
        now = forward(ess, delta)[ess.position]
        kl = (now.exp() * (now - before)).sum()
        loss = nll / len(rows) + s.kl_factor * kl + s.weight_decay * delta.norm() / initial.norm() ** 2
        if loss < s.stop_loss or step == s.steps - 1:
            break
        (g,) = torch.autograd.grad(loss, delta)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        moved = delta.detach() - s.rate * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        radius = s.clamp_norm_factor * initial.norm()
        delta = (moved * min(1.0, float(radius / moved.norm()))).requires_grad_()
    return (initial + delta).detach(), step


@pytest.mark.parametrize("kind", KINDS)
def test_targets_agree_with_the_oracle_in_float64(kind):
    model = lm(kind, torch.float64)
    found = targets.optimise(model, FACTS, CONTEXTS, settings(), batch=2)
    for index, fact in enumerate(FACTS):
        wanted, step = oracle_values(model, fact, CONTEXTS, settings())
        assert found.log[found.log["case_id"] == fact.case_id]["step"].max() == step
        # GPT-J's own attention computes in float32 whatever the weights are
        assert (found.value[index] - wanted).norm() / wanted.norm() < (1e-5 if kind == "gptj" else 1e-8)


@pytest.mark.parametrize("clamp", (0.3, 4.0))
def test_a_fact_does_not_depend_on_its_batch_and_stops_on_its_own(clamp):
    model, s = lm("gpt2", torch.float64), settings(steps=30, rate=0.5, stop_loss=8.262, clamp_norm_factor=clamp)
    together = targets.optimise(model, FACTS, CONTEXTS, s, batch=3)
    alone = [targets.optimise(model, [fact], CONTEXTS, s, batch=1) for fact in FACTS]
    last = together.log.groupby("case_id")["step"].max()
    assert last.nunique() > 1 or clamp < 1, "the facts should stop at different steps for this test to say anything"
    for index, one in enumerate(alone):
        assert (together.value[index] - one.value[0]).norm() < 1e-9 * one.value[0].norm()
        assert last[index] == one.log["step"].max()
        assert (one.value[0] - one.initial[0]).norm() <= clamp * one.initial[0].norm() * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_after_a_block_is_the_full_forward(kind):
    model, ids = lm(kind), torch.randint(1, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    for layer in range(model.layers):
        with captured({"block": model.module("block", layer)}) as kept, torch.no_grad():
            full = model.hidden(ids)
        with resumed(model, layer, kept["block"]), torch.no_grad():
            assert torch.equal(model.hidden(torch.zeros_like(ids)), full)
    with torch.no_grad():
        assert torch.equal(model.hidden(ids), full), "the model must be as before"


def random_moment(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(4 * width, width, generator=generator, dtype=torch.float64) * torch.rand(width, generator=generator) * 3
    return covariance.Moment(keys.T @ keys, len(keys))


def edit(model, contexts, facts=FACTS):
    wanted = torch.randn(len(facts), model.width, generator=torch.Generator().manual_seed(1)).to(next(model.model.parameters()))
    aids = methods.Aids(tuple(contexts), {1: random_moment(model.key_width(1))}, wanted)
    return rome.edit(model, facts, settings(), aids), wanted, aids.moments[1].mean


@pytest.mark.parametrize("kind", KINDS)
def test_rome_stores_the_value_under_the_key_with_rank_one(kind):
    model = lm(kind)
    deltas, wanted, _ = edit(model, CONTEXTS)
    for fact, delta, value in zip(FACTS, deltas, wanted):
        (row,) = memory.lookups(model.tokenizer, fact, ["{}"])
        with applied(model, delta):
            key, now = memory.keys_values(model, 1, [row])
        assert torch.allclose(now[0], value, atol=1e-4), "W'k = v*"
        assert torch.linalg.matrix_rank(delta.dense(1)) == 1


def test_rome_is_the_smallest_change_in_the_c_norm():
    """Among all changes with W'k = v* (here one key, so mean and bare key agree), ROME's has the least tr(D C Dᵀ)."""
    model = lm("gpt2", torch.float64)
    (delta, *_), wanted, c = edit(model, ["{}"])
    change = delta.dense(1).double()
    key = memory.fact_keys(model, 1, FACTS[:1], ["{}"]).bare[0].double()
    cost = torch.trace(change @ c @ change.T)
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        other = torch.randn(change.shape, generator=generator, dtype=torch.float64)
        other -= torch.outer(other @ key, key) / key.dot(key)  # leaves W'k as it is
        assert torch.trace((change + other) @ c @ (change + other).T) > cost
        small = change + 1e-4 * other
        assert torch.trace(small @ c @ small.T) >= cost * (1 - 1e-12)
    # and it solves the normal equations of the constrained problem: D C is an outer product with k
    left = change @ c
    assert torch.allclose(left, torch.outer(left @ key, key) / key.dot(key), atol=1e-6 * float(left.norm()))


def test_rome_is_the_limit_of_memits_equation_for_one_fact_and_one_layer():
    """R kᵀ (λC + k kᵀ)⁻¹ (MEMIT eq. 14) tends to ROME's update as λ tends to 0."""
    model = lm("gpt2", torch.float64)
    (delta, *_), wanted, c = edit(model, ["{}"])
    keys = memory.fact_keys(model, 1, FACTS[:1], ["{}"])
    key, residual = keys.bare[0], wanted[0] - keys.value[0]
    memit = torch.outer(residual, torch.linalg.solve(1e-9 * c + torch.outer(key, key), key))
    assert (memit - delta.dense(1)).norm() < 1e-4 * memit.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_edited_models_equals_really_changing_the_weights(kind):
    model, ids = lm(kind, torch.float64), torch.randint(1, 300, (3, 7), generator=torch.Generator().manual_seed(3))
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    deltas = edit(model, CONTEXTS)[0]
    with edited(model, deltas), torch.no_grad():
        together = model.model(input_ids=ids).logits
    for index, delta in enumerate(deltas):
        with applied(model, delta), torch.no_grad():
            alone = model.model(input_ids=ids[index : index + 1]).logits[0]
        assert torch.allclose(together[index], alone, atol=1e-4 if kind == "gptj" else 1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())


def test_weights_come_back_after_an_error():
    model = lm("gpt2")
    before = model.value_weight(1).clone()
    with pytest.raises(RuntimeError, match="inside"), applied(model, edit(model, CONTEXTS)[0][0]):
        raise RuntimeError("inside")
    assert torch.equal(model.value_weight(1), before)


def test_deltas_of_different_layers_cannot_share_a_batch():
    model = lm("gpt2")
    one = torch.zeros(model.width, 1), torch.zeros(model.key_width(0), 1)
    with pytest.raises(ValueError, match="same layers"), edited(model, [Delta({0: one}), Delta({1: one})]):
        pass
