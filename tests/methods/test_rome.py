"""Resuming a forward, and the theorems about ROME's update."""

import pytest
import torch

from engram.editing import editor, second_moment, subject_keys
from engram.editing.facts import Fact
from engram.editing.values import targets
from engram.methods import rome
from engram.model.delta import applied
from toy import PROMPTS, lm

KINDS = ("gpt2", "gptj", "gpt_neox", "llama")
CONTEXTS = ["{}", "Zürich is. {}", "He plays the. {}"]
FACTS = [
    Fact(i, subject, prompt.replace(subject, "{}"), target)
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]


def settings(**more):
    return targets.Settings(layer=1, **{"steps": 8, "rate": 0.1, **more})


def random_moment(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = (
        torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
        * torch.rand(width, generator=generator)
        * 3
    )
    return second_moment.Moment(keys.T @ keys, len(keys))


def edit(model, contexts, facts=FACTS):
    wanted = torch.randn(len(facts), model.width, generator=torch.Generator().manual_seed(1)).to(
        next(model.model.parameters())
    )
    aids = editor.Aids(
        tuple(contexts),
        {1: random_moment(model.key_width(1))},
        {fact.case_id: value for fact, value in zip(facts, wanted)},
    )
    return rome.edit_each(model, facts, settings(), aids), wanted, aids.moments[1].mean


@pytest.mark.parametrize("kind", KINDS)
def test_rome_stores_the_value_under_the_key_with_rank_one(kind):
    model = lm(kind)
    deltas, wanted, _ = edit(model, CONTEXTS)
    for fact, delta, value in zip(FACTS, deltas, wanted):
        with applied(model, delta):
            now = subject_keys.fact_keys(model, targets.Settings(layer=1), [fact], ["{}"]).value
        assert torch.allclose(now[0], value, atol=1e-4), "W'k = v*"
        assert torch.linalg.matrix_rank(delta.dense(1)) == 1


def test_rome_is_the_smallest_change_in_the_c_norm():
    """Among all changes with W'k = v* (here one key, so mean and bare key agree), ROME's has the least tr(D C Dᵀ)."""
    model = lm("gpt2", torch.float64)
    (delta, *_), _wanted, c = edit(model, ["{}"])
    change = delta.dense(1).double()
    key = subject_keys.fact_keys(model, targets.Settings(layer=1), FACTS[:1], ["{}"]).bare[0].double()
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
    keys = subject_keys.fact_keys(model, targets.Settings(layer=1), FACTS[:1], ["{}"])
    key, residual = keys.bare[0], wanted[0] - keys.value[0]
    memit = torch.outer(residual, torch.linalg.solve(1e-9 * c + torch.outer(key, key), key))
    assert (memit - delta.dense(1)).norm() < 1e-4 * memit.norm()
