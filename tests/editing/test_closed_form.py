"""Editors with a closed form: theorems about each update, slow oracles for the mass edit, and the contract of a
method.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engram.editing import closed_form, covariance, editor, residual_spread
from engram.editing.facts import Fact, lookups, target_tokens
from engram.editing.second_moment import Moment
from engram.editing.values import targets
from engram.methods import alphaedit, emmet, memit, memit_seq, pmet, r_rome
from engram.model.delta import Delta, applied
from toy import PROMPTS, TEXT, lm

KINDS = ("gpt2", "llama")
CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")
FACTS = [
    Fact(7 * i, subject, prompt.replace(subject, "{}"), target)
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]
LAYERS = (0, 1, 2)
SETTINGS = {
    "r-rome": r_rome.Settings(layer=1),
    "memit": memit.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "memit-seq": memit_seq.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "pmet": pmet.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "emmet": emmet.Settings(layer=1, covariance_weight=2.0, ridge=0.01),
    "alphaedit": alphaedit.Settings(layer=2, layers=LAYERS, threshold=1.0, ridge=0.1),
}


@dataclass(frozen=True)
class Aids:
    """What a method gets besides the model."""

    contexts: tuple = CONTEXTS
    moments: dict = None
    targets: dict = None
    earlier: dict = field(default_factory=dict)


def moment(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
    keys *= 3 * torch.rand(width, generator=generator, dtype=torch.float64)
    return Moment(keys.T @ keys, len(keys))


def aids_of(model, facts=FACTS, **more):
    draws = torch.randn(len(facts), model.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = {fact.case_id: draw.to(model.model.dtype) for fact, draw in zip(facts, draws)}
    return Aids(
        **{"moments": {layer: moment(model.key_width(layer), layer) for layer in LAYERS}, "targets": targets, **more}
    )


def wanted(aids, facts=FACTS):
    return torch.stack([aids.targets[fact.case_id] for fact in facts]).double()


def slow_keys(model, layer, fact, contexts=CONTEXTS):
    """The key of every context [C, D], each text alone in a plain forward, and output of every block and MLP at its
    token.
    """
    keys, blocks, mlps = [], [], []
    for context in contexts:
        (row,) = lookups(model.tokenizer, fact, [context])
        kept, store = {}, lambda name: lambda _m, inputs, output: kept.__setitem__(name, (inputs, output))
        handles = [
            model.module("value", layer).register_forward_hook(store("value")),
            model.module("block", 2).register_forward_hook(store("block")),
            model.module("mlp", 2).register_forward_hook(store("mlp")),
        ]
        with torch.no_grad():
            model.model(input_ids=torch.tensor([row.ids]))
        for handle in handles:
            handle.remove()
        out = kept["block"][1]
        keys.append(kept["value"][0][0][0, row.position])
        blocks.append((out[0] if isinstance(out, tuple) else out)[0, row.position])
        mlps.append(kept["mlp"][1][0, row.position])
    return torch.stack(keys), blocks[0], mlps[0]


def weighted_key(model, layer, fact, contexts=CONTEXTS):
    keys = slow_keys(model, layer, fact, contexts)[0]
    return 0.5 * keys[0] + 0.5 * sum(keys[1:]) / (len(keys) - 1) if len(keys) > 1 else keys[0]


def c_norm(change, c):
    return float(torch.trace(change @ c @ change.T))


# --- r-ROME
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_r_rome_stores_the_value_under_the_mean_key_with_rank_one(kind, dtype):
    model = lm(kind, dtype)
    aids = aids_of(model)
    for fact in FACTS:
        key = slow_keys(model, 1, fact)[0].mean(0)
        delta = r_rome.edit(model, [fact], SETTINGS["r-rome"], aids)
        with applied(model, delta), torch.no_grad():
            now = model.module("value", 1)(key)
        assert torch.allclose(now, aids.targets[fact.case_id], atol=1e-4 if dtype == torch.float32 else 1e-9)
        assert torch.linalg.matrix_rank(delta.dense(1)) == 1


def smallest(c, keys, residual):
    """The smallest ΔW in the C-norm with ΔW K = R [d, F], numerically: least norm of ΔW C^½, from an SVD."""
    values, vectors = np.linalg.eigh(c.numpy())
    back = vectors * values**-0.5 @ vectors.T
    moved = back @ keys.numpy().T  # C^-½ K; ΔW K = (ΔW C^½)(C^-½ K)
    return torch.tensor((np.linalg.lstsq(moved.T, residual.numpy().T, rcond=None)[0]).T @ back)


@pytest.mark.parametrize("kind", KINDS)
def test_r_rome_is_the_smallest_solution_in_the_c_norm(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    c, key = aids.moments[1].mean, slow_keys(model, 1, FACTS[0])[0].mean(0)
    change = r_rome.edit(model, FACTS[:1], SETTINGS["r-rome"], aids).dense(1)
    with torch.no_grad():
        residual = aids.targets[0] - model.module("value", 1)(key)
    assert torch.allclose(change, smallest(c, key[None], residual[:, None]), atol=1e-9 * float(change.abs().max()))
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        other = torch.randn(change.shape, generator=generator, dtype=torch.float64)
        other -= torch.outer(other @ key, key) / key.dot(key)  # leaves W'k as it is
        assert c_norm(change + other, c) > c_norm(change, c)


def test_r_rome_of_several_facts_is_one_after_the_other():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    together = r_rome.edit(model, FACTS, SETTINGS["r-rome"], aids)
    total = torch.zeros(model.width, model.key_width(1), dtype=torch.float64)
    for fact in FACTS:
        with applied(model, Delta({1: total})):
            total = total + r_rome.edit(model, [fact], SETTINGS["r-rome"], aids).dense(1)
    assert torch.allclose(together.dense(1), total, atol=1e-10 * float(total.abs().max()))


def test_a_key_orthogonal_to_its_direction_is_refused():
    with pytest.raises(ValueError, match=r"fact 1: .*orthogonal"):
        closed_form.in_turn(torch.eye(2), torch.tensor([[1.0, 0], [1, 0]]), torch.ones(2, 3))


# --- MEMIT
# ----------------------------------------------------------------------------------------------------------------


def test_least_squares_solves_the_stacked_system():
    """Rows √λ C^½, S^½ with nothing wanted, and K with R wanted: numpy's least squares over them is the change."""
    generator = torch.Generator().manual_seed(0)
    keys, residual = (torch.randn(9, n, generator=generator, dtype=torch.float64) for n in (24, 5))
    c, old = moment(24), torch.randn(4, 24, generator=generator, dtype=torch.float64)
    many = torch.randn(30, 24, generator=generator, dtype=torch.float64), torch.randn(30, 5, generator=generator)
    for weight, earlier, (keys, residual) in (
        (3.0, None, (keys, residual)),
        (0.7, old.T @ old, (keys, residual)),
        (3.0, None, [one.double() for one in many]),
    ):
        found = residual.T @ closed_form.least_squares(c, weight, keys, earlier).T
        values, vectors = np.linalg.eigh(c.mean.numpy())
        rows = [
            np.sqrt(weight * values)[:, None] * vectors.T,
            keys.numpy(),
            *([old.numpy()] if earlier is not None else []),
        ]
        goal = [np.zeros((24, 5)), residual.numpy(), *([np.zeros((4, 5))] if earlier is not None else [])]
        slow = np.linalg.lstsq(np.concatenate(rows), np.concatenate(goal), rcond=None)[0].T
        assert np.allclose(found.numpy(), slow, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("contexts", [("{}",), CONTEXTS])
def test_memit_of_one_fact_and_one_layer_meets_its_value_as_lambda_vanishes(kind, contexts):
    model = lm(kind, torch.float64)
    aids, fact = aids_of(model, contexts=contexts), FACTS[1]
    key, before, _ = weighted_key(model, 2, fact, contexts), *slow_keys(model, 2, fact, contexts)[1:]
    gaps = []
    for weight in (1e-2, 1e-6, 1e-12):
        settings = memit.Settings(layer=2, layers=(2,), covariance_weight=weight)
        delta = memit.edit(model, [fact], settings, aids)
        gaps.append(float((delta.dense(2) @ key - (aids.targets[fact.case_id] - before)).norm()))
        with applied(model, delta):
            now = slow_keys(model, 2, fact, contexts)[1]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-10
    if contexts == ("{}",):
        assert torch.allclose(now, aids.targets[fact.case_id], atol=1e-9), "the block returns z at the subject"


def test_memit_of_one_layer_tends_to_r_rome():
    """With the bare prompt as the only context, and z = h + v* - v: the two want the same change of the same value."""
    model = lm("gpt2", torch.float64)
    aids, fact = aids_of(model, contexts=("{}",)), FACTS[0]
    _, block, mlp = slow_keys(model, 2, fact, ("{}",))
    z = replace(aids, targets={0: aids.targets[0] + block - mlp})
    one = r_rome.edit(model, [fact], r_rome.Settings(layer=2), aids).dense(2)
    other = memit.edit(model, [fact], memit.Settings(layer=2, layers=(2,), covariance_weight=1e-12), z).dense(2)
    assert (one - other).norm() < 1e-9 * one.norm()


def slow_memit(model, facts, aids, layers, share, site, solve):
    """Algorithm 1 of MEMIT with plain forwards, dense matrices and an inverse."""
    parts = {}
    for index, layer in enumerate(layers):
        with applied(model, Delta(dict(parts))):
            keys = torch.stack([weighted_key(model, layer, fact) for fact in facts])
            now = torch.stack([slow_keys(model, layer, fact)[1 if site == "block" else 2] for fact in facts])
        residual = (wanted(aids, facts) - now) * share(len(layers) - index)
        parts[layer] = residual.T @ keys @ torch.linalg.inv(solve(layer, keys))
    return parts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "share", "site"), [("memit", lambda n: 1 / n, "block"), ("pmet", lambda n: n**-0.5, "mlp")]
)
def test_spreading_over_layers_agrees_with_plain_forwards(kind, name, share, site):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    delta = editor.load(name).edit(model, FACTS, SETTINGS[name], aids)
    slow = slow_memit(
        model, FACTS, aids, LAYERS, share, site, lambda layer, k: 0.5 * aids.moments[layer].mean + k.T @ k
    )
    assert list(delta.parts) == list(LAYERS)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), slow[layer], atol=1e-8 * float(slow[layer].abs().max()))


def test_batches_of_rows_and_memory_do_not_matter(monkeypatch):
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    delta = memit.edit(model, FACTS, SETTINGS["memit"], aids)
    whole = residual_spread.looked_up
    monkeypatch.setattr(residual_spread, "looked_up", lambda *args: whole(*args[:3], *(args[3:] or (None,)), 1))
    alone = memit.edit(model, FACTS, SETTINGS["memit"], aids)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), alone.dense(layer), rtol=1e-9, atol=1e-12)


def test_many_facts_make_a_dense_part_and_few_a_low_rank_one():
    residual, solution = torch.ones(4, 3, dtype=torch.float64), torch.ones(8, 3, dtype=torch.float64)
    assert torch.equal(closed_form.part(residual, solution, torch.float32), residual @ solution.T)
    left, right = closed_form.part(residual[:, :2], solution[:, :2], torch.float32)
    assert left.shape == (4, 2) and right.shape == (8, 2) and left.dtype == torch.float32


def test_what_cannot_be_inverted_or_found_is_refused():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    flat = Moment(torch.outer(torch.ones(128), torch.ones(128)).double(), 1)
    with pytest.raises(ValueError, match="rank 1 of 128"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, moments=dict.fromkeys(LAYERS, flat)))
    with pytest.raises(ValueError, match="no optimised value for case 7 and 1 more of 3"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, targets={0: aids.targets[0]}))
    with pytest.raises(ValueError, match="first must be the bare prompt"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, contexts=("He. {}",)))
    with pytest.raises(ValueError, match="right is a positive weight"):
        closed_form.least_squares(moment(4), 0.0, torch.randn(5, 4))
    for name, key in (("memit", "covariance_weight"), ("emmet", "covariance_weight"), ("alphaedit", "threshold")):
        with pytest.raises(ValueError, match=key):
            replace(SETTINGS[name], **{key: -1.0})
    for layers in ((), (1, 0), (0, 1)):
        with pytest.raises(ValueError, match="rising list that ends with"):
            memit.Settings(layer=2, layers=layers, covariance_weight=1.0)


# --- EMMET
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_emmet_of_one_fact_is_r_rome(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    one = r_rome.edit(model, FACTS[:1], SETTINGS["r-rome"], aids).dense(1)
    for weight in (1.0, 1000.0):
        other = emmet.edit(model, FACTS[:1], emmet.Settings(layer=1, covariance_weight=weight, ridge=0.0), aids).dense(
            1
        )
        assert (one - other).norm() < 1e-10 * one.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_emmet_meets_all_constraints_with_the_smallest_change(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    keys = torch.stack([slow_keys(model, 1, fact)[0].mean(0) for fact in FACTS])
    change = emmet.edit(model, FACTS, emmet.Settings(layer=1, covariance_weight=5.0, ridge=0.0), aids).dense(1)
    with torch.no_grad():
        before = model.module("value", 1)(keys)
    with applied(model, Delta({1: change})), torch.no_grad():
        assert torch.allclose(model.module("value", 1)(keys), wanted(aids), atol=1e-9)
    assert torch.allclose(change, smallest(aids.moments[1].mean, keys, (wanted(aids) - before).T), atol=1e-9)
    loose = emmet.edit(model, FACTS, emmet.Settings(layer=1, covariance_weight=5.0, ridge=0.1), aids).dense(1)
    c = torch.linalg.inv(5 * aids.moments[1].mean)
    formula = (wanted(aids) - before).T @ torch.linalg.inv(keys @ c @ keys.T + 0.1 * torch.eye(3)) @ keys @ c
    assert torch.allclose(loose, formula, atol=1e-10) and loose.norm() < change.norm()


def test_emmet_refuses_a_fact_twice_without_a_ridge():
    model = lm("gpt2", torch.float64)
    with pytest.raises(ValueError, match="depend on each other"):
        emmet.edit(model, FACTS[:1] * 2, emmet.Settings(layer=1, covariance_weight=1.0, ridge=0.0), aids_of(model))


# --- AlphaEdit and MEMIT in sequence
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_alphaedit_leaves_what_text_uses_alone(kind):
    """ΔW vanishes on every direction of C above the threshold, and nowhere near vanishes below it."""
    model = lm(kind, torch.float64)
    aids, settings = aids_of(model), SETTINGS["alphaedit"]
    delta = alphaedit.edit(model, FACTS, settings, aids)
    for layer in LAYERS:
        values, vectors = torch.linalg.eigh(aids.moments[layer].mean)
        change = delta.dense(layer) @ vectors
        kept = values >= settings.threshold
        assert 0 < kept.sum() < len(values)
        assert change[:, kept].norm() < 1e-12 * change.norm() and change[:, ~kept].norm() > 0.99 * change.norm()


def test_alphaedit_is_the_published_solve():
    generator = torch.Generator().manual_seed(0)
    keys, old = (torch.randn(n, 24, generator=generator, dtype=torch.float64) for n in (6, 4))
    c = moment(24)
    u, s, _ = torch.linalg.svd(c.mean)
    projection = u[:, s < 2.0] @ u[:, s < 2.0].T
    space = closed_form.null_space(c, 2.0)
    assert torch.allclose(space @ space.T, projection, atol=1e-12)
    assert closed_form.null_space(c, 1.0).shape[1] < space.shape[1], "what is kept of C serves every threshold"
    for earlier in (torch.zeros(24, 24, dtype=torch.float64), old.T @ old):
        published = torch.linalg.solve(projection @ (keys.T @ keys + earlier) + 10 * torch.eye(24), projection @ keys.T)
        assert torch.allclose(closed_form.projected(space, 10.0, keys, earlier), published, atol=1e-12)
    with pytest.raises(ValueError, match="24 of 24 directions lie below"):
        closed_form.null_space(c, 1e9)


@pytest.mark.parametrize("name", ["alphaedit", "memit-seq"])
def test_what_was_stored_is_remembered_with_the_keys_of_the_edited_model(name):
    model, method = lm("gpt2", torch.float64), editor.load(name)
    aids = aids_of(model)
    first = method.edit(model, FACTS[:2], SETTINGS[name], aids)
    with applied(model, first):
        earlier = method.remember(model, FACTS[:2], SETTINGS[name], aids)
        for layer in LAYERS:
            keys = torch.stack([weighted_key(model, layer, fact) for fact in FACTS[:2]])
            assert torch.allclose(earlier[layer], keys.T @ keys, atol=1e-9)
        aids = replace(aids, earlier=earlier)
        second = method.edit(model, FACTS[2:], SETTINGS[name], aids)
        careless = method.edit(model, FACTS[2:], SETTINGS[name], replace(aids, earlier={}))
        after = method.remember(model, FACTS[2:], SETTINGS[name], aids)
        for layer in LAYERS:
            key = weighted_key(model, layer, FACTS[2])
            assert torch.allclose(after[layer], earlier[layer] + torch.outer(key, key), atol=1e-9)
            if layer == 0:  # the same keys in both
                assert (second.dense(0) @ keys_of(model, 0, FACTS[:2])).norm() < (
                    careless.dense(0) @ keys_of(model, 0, FACTS[:2])
                ).norm(), "the stored facts move less"


def keys_of(model, layer, facts):
    return torch.stack([weighted_key(model, layer, fact) for fact in facts]).T


def test_memit_in_sequence_solves_against_stored_keys():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    aids = replace(aids, earlier=memit_seq.remember(model, FACTS[:1], SETTINGS["memit-seq"], aids))
    delta = memit_seq.edit(model, FACTS[1:], SETTINGS["memit-seq"], aids)
    slow = slow_memit(
        model,
        FACTS[1:],
        aids,
        LAYERS,
        lambda n: 1 / n,
        "block",
        lambda layer, k: 0.5 * aids.moments[layer].mean + aids.earlier[layer] + k.T @ k,
    )
    plain = memit.edit(model, FACTS[1:], SETTINGS["memit"], aids)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), slow[layer], atol=1e-8 * float(slow[layer].abs().max()))
        assert not torch.allclose(delta.dense(layer), plain.dense(layer), rtol=1e-3)


# --- The contract
# -----------------------------------------------------------------------------------------------------------

# the looked-up token is the last one: what is stored there speaks without a detour through a random model's attention
LAST = [replace(fact, prompt="He plays {}") for fact in FACTS]


def real_aids(model, name):
    """Values that were really optimised, and second moments of real keys."""
    found = covariance.second_moments(model, list(LAYERS), TEXT * 2, 64, 512)
    moments = {layer: replace(one, ridge=0.01) for layer, one in found.items()}
    settings = replace(SETTINGS[name], steps=15, rate=1.0, clamp_norm_factor=20.0)
    values = targets.optimise(model, LAST, ["{}"], settings, batch=3).value
    return Aids(contexts=("{}",), moments=moments, targets={fact.case_id: value for fact, value in zip(LAST, values)})


def nll(model, fact):
    """Of the fact's target after its prompt, mean per token."""
    goal = target_tokens(model.tokenizer, fact)
    (row,) = lookups(model.tokenizer, fact, ["{}"], goal[:-1])
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([row.ids])).logits[0, -len(goal) :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(goal)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_contract(kind, name):
    model, method = lm(kind), editor.load(name)
    before = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
    aids, settings = real_aids(model, name), SETTINGS[name]
    if name == "alphaedit":
        settings = replace(settings, threshold=float(torch.linalg.eigvalsh(aids.moments[1].mean)[-8]), ridge=1e-3)
    elif name != "r-rome":
        settings = replace(settings, covariance_weight=1e-3)
    for facts in ([LAST[0]], LAST):
        delta, again = (method.edit(model, facts, settings, aids) for _ in range(2))
        assert all(torch.equal(delta.dense(key), again.dense(key)) for key in delta.parts), "same seed, same delta"
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items())
        old = [nll(model, fact) for fact in facts]
        with applied(model, delta):
            new = [nll(model, fact) for fact in facts]
        assert all(now < was - 0.1 for now, was in zip(new, old)), "the target gets more probable"
    with pytest.raises(ValueError, match="no optimised value"):
        method.edit(model, LAST, settings, replace(aids, targets={LAST[0].case_id: aids.targets[LAST[0].case_id]}))
    broken = SimpleNamespace(**{**aids.__dict__, "moments": {LAYERS[0]: aids.moments[LAYERS[0]]}})
    with pytest.raises(KeyError):
        method.edit(model, LAST, settings, broken)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items()), (
        "also after an error"
    )
    assert set(method.REGIMES) <= {"single", "mass", "sequential"} and "targets" in method.NEEDS
