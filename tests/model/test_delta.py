"""Changes of weights: batches of differently edited models against really writing into the weights, one model at a
time.
"""

import pytest
import torch

from changed_weights import assorted, low, random, snapshot, unchanged, written
from engram.model import batches
from engram.model.delta import NOTHING, Delta, applied, distinct, edited, groups, place
from toy import lm

KINDS = ("gpt2", "gptj", "gpt_neox", "gpt_neox_sequential", "llama")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_edited_models_equals_really_changing_the_weights(kind, dtype, tolerance):
    model = lm(kind, dtype)
    different = assorted(model)
    index = [0, 3, 1, 2, 3, 4, 5, 6, 0, 7, 6, 3]
    ids = torch.randint(1, 300, (len(index), 7), generator=torch.Generator().manual_seed(3))
    before = snapshot(model)
    with edited(model, [different[i] for i in index]), torch.no_grad():
        together = model.model(input_ids=ids).logits
    assert unchanged(model, before)
    changed = []
    for row, number in enumerate(index):
        with torch.no_grad():
            plain = model.model(input_ids=ids[row : row + 1]).logits[0]
            with written(model, different[number]):
                alone = model.model(input_ids=ids[row : row + 1]).logits[0]
        changed.append(float((alone - plain).abs().max()))
        error = float((together[row] - alone).abs().max())
        assert error < (1e-4 if kind == "gptj" else tolerance) * float(alone.abs().max()), (row, number)
    assert all((change > 0.01) == (number != 1) for change, number in zip(changed, index)), "each change must matter"


@pytest.mark.parametrize("kind", KINDS)
def test_applied_is_the_changed_model_and_the_bytes_come_back_after_an_error(kind):
    model, ids = lm(kind, torch.float64), torch.arange(1, 9)[None]
    before = snapshot(model)

    def used_and_failed(wanted):
        assert torch.allclose(model.model(input_ids=ids).logits, wanted, atol=1e-10 if kind != "gptj" else 1e-5)
        raise RuntimeError("inside")

    for delta in assorted(model):
        with written(model, delta), torch.no_grad():
            wanted = model.model(input_ids=ids).logits
        with pytest.raises(RuntimeError, match="inside"), applied(model, delta), torch.no_grad():
            used_and_failed(wanted)
        assert unchanged(model, before)
        with pytest.raises(RuntimeError, match="inside"), edited(model, [delta, NOTHING]):
            raise RuntimeError("inside")
        assert unchanged(model, before)
        assert not any(module._forward_hooks for module in model.model.modules()), "hooks are gone"


def test_a_tied_weight_changes_wherever_it_is_used():
    model, ids = lm("gpt2", torch.float64), torch.arange(1, 9)[None]
    delta = Delta({"transformer.wte.weight": random(model.module("embed").weight.shape, model, 0)})
    with written(model, delta), torch.no_grad():
        wanted = model.model(input_ids=ids).logits
    with edited(model, [delta]), torch.no_grad():
        assert torch.allclose(model.model(input_ids=ids).logits, wanted, atol=1e-10)
    assert model.model.lm_head.weight is model.model.transformer.wte.weight


def test_what_cannot_be_stacked_is_refused_and_kept_apart():
    model = lm("llama")
    norm = Delta({"model.layers.1.input_layernorm.weight": torch.ones(model.width)})
    one, dense = Delta({0: low(model, 0, 1, 0)}), Delta({0: random(place(model, 0).weight.shape, model, 0)})
    with (
        pytest.raises(
            ValueError, match=r"2 differently edited models cannot share a batch: they change model.layers.1.input"
        ),
        edited(model, [norm, one]),
    ):
        pass
    size = model.value_weight(0).nbytes
    assert groups(model, [one, NOTHING, norm, one, dense, one], 2 * size) == [[0, 1], [2], [3, 4, 5]]
    assert groups(model, [dense, one, dense, dense, one, dense], 2 * size) == [[0, 1, 2], [3, 4, 5]]
    assert groups(model, [dense, dense], 1) == [[0], [1]], "one is never too much"
    with pytest.raises(ValueError, match=r"model toy-llama has no parameter 'model.layers.9.mlp.down_proj.weight'"):
        place(model, 9)


def test_norms_are_those_of_the_matrix():
    model = lm("gpt2")
    left, right = low(model, 2, 3, 0)
    delta = Delta({2: (left, right), 1: (left @ right.T)})
    assert delta.norm(2) == pytest.approx(float((left @ right.T).double().norm()), rel=1e-6)
    assert delta.norm(1) == pytest.approx(delta.norm(2), rel=1e-6)
    assert distinct([delta, NOTHING, delta]) == ([delta, NOTHING], [0, 1, 0])


def test_a_twin_shares_weights_but_not_hooks():
    model = lm("gptj")
    twin = batches.twin(model)
    assert {t.data_ptr() for t in twin.model.state_dict().values()} == {
        t.data_ptr() for t in model.model.state_dict().values()
    }
    with applied(twin, Delta({0: random(place(model, 0).weight.shape, model, 0)})):
        assert not torch.equal(twin.value_weight(0), model.value_weight(0))
    assert torch.equal(twin.value_weight(0), model.value_weight(0))


def test_changes_add_up():
    model = lm("gpt2", torch.float64)
    changes = assorted(model)
    for one in changes:
        for other in changes:
            both = one + other
            for key in {*one.parts, *other.parts}:
                wanted = sum(change.dense(key) for change in (one, other) if key in change.parts)
                assert torch.allclose(both.dense(key), wanted, atol=1e-12)
    out, into = model.value_weight(2).shape
    total, size = NOTHING, 5
    for step in range(8):
        total = total + Delta({2: low(model, 2, size, step)})
        rank, part = size * (step + 1), total.parts[2]
        assert isinstance(part, tuple) == (rank * (out + into) < out * into), "of low rank as long as that is smaller"
        assert not isinstance(part, tuple) or part[0].shape == (out, rank)
    assert not isinstance(part, tuple)
    dense = Delta({2: random((out, into), model, 1)})
    assert (total + dense).parts[2].shape == (out, into) and (NOTHING + dense).parts[2] is dense.parts[2]
