"""Editors with a closed form: theorems about each update, slow oracles for the mass edit, and the contract of a
method.
"""

import numpy as np
import pytest
import torch

from closed_form_oracles import moment
from engram.editing import closed_form

# --- r-ROME
# ---------------------------------------------------------------------------------------------------------------


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


def test_many_facts_make_a_dense_part_and_few_a_low_rank_one():
    residual, solution = torch.ones(4, 3, dtype=torch.float64), torch.ones(8, 3, dtype=torch.float64)
    assert torch.equal(closed_form.part(residual, solution, torch.float32), residual @ solution.T)
    left, right = closed_form.part(residual[:, :2], solution[:, :2], torch.float32)
    assert left.shape == (4, 2) and right.shape == (8, 2) and left.dtype == torch.float32


# --- EMMET
# ----------------------------------------------------------------------------------------------------------------


# --- AlphaEdit and MEMIT in sequence
# -----------------------------------------------------------------------------------------


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


# --- The contract
# -----------------------------------------------------------------------------------------------------------
