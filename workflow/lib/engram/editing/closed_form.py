"""Closed-form solutions for the change of a linear memory W, all on the second moment C of its keys.

Every change here is residual times solution: W' = W + R Xᵀ with R [d, F], what is missing, and X [D, F] from the keys
alone. All is computed in float64. C itself is engram.editing.second_moment, the keys are engram.editing.subject_keys.
Shapes: F facts, d values, D keys, r dimensions that C hardly uses.
"""

from collections.abc import Callable

import torch

from engram.editing.second_moment import Device, Moment


def least_squares(
    moment: Moment, weight: float, keys: torch.Tensor, earlier: torch.Tensor | None = None
) -> torch.Tensor:
    """X = (λC + S + KKᵀ)⁻¹ K [D, F] for keys Kᵀ [F, D], with λ = `weight` and S = `earlier` [D, D].

    S is the sum of k kᵀ over keys stored before. R Xᵀ is the change that minimises Σ ‖R_i - ΔW k_i‖² + λ tr(ΔW C ΔWᵀ) +
    tr(ΔW S ΔWᵀ); with λ = 0 and no more keys than D it meets ΔW K = R exactly, as the smallest such change in the
    C-norm. λ multiplies the mean second moment. Without S and with F <= D it is computed as C⁻¹K (λI + KᵀC⁻¹K)⁻¹,
    which is the same and loses nothing when λ is small. PAPER: MEMIT eq. 14; with S: MEMIT-seq. ValueError if a
    matrix cannot be inverted.
    """
    keys = keys.double()
    if earlier is None and len(keys) <= keys.shape[1]:
        return _few(moment, weight, keys)
    matrix = keys.T @ keys + weight * moment.ridged(keys.device)
    if earlier is not None:
        matrix += earlier.to(matrix)
    if weight == 0:
        raise ValueError(
            f"weight 0 of C with {len(keys)} keys of width {len(matrix)}, and those stored before: they cannot all "
            "be met; right is a positive weight"
        )
    return _solve(
        matrix,
        keys.T,
        lambda: (
            f"{weight:g} C + K Kᵀ with C of rank {moment.rank()} of {len(matrix)} and "
            f"{len(keys)} keys: raise the weight of C, covariance.articles or covariance.ridge"
        ),
    )


def _few(moment: Moment, weight: float, keys: torch.Tensor) -> torch.Tensor:
    """`least_squares` without stored keys, through a system of F equations instead of D."""
    solved = moment.solve(keys)
    gram = keys @ solved
    gram = (gram + gram.T) / 2
    gram.diagonal().add_(weight)
    return _solve(
        gram,
        solved.T,
        lambda: (
            f"KᵀC⁻¹K + {weight:g} I of {len(keys)} keys that depend on each other: edit fewer facts "
            "at once, or give C a larger weight"
        ),
    ).T


def null_space(moment: Moment, threshold: float, device: Device = "cpu") -> torch.Tensor:
    """Û [D, r]: eigenvectors of C (the mean second moment) with eigenvalues below `threshold`; P = Û Ûᵀ.

    PAPER: AlphaEdit Sec. 3.2. ValueError if there are none, or if all are.
    """
    values, vectors = moment.spectrum(device)
    rank = int((values < threshold).sum())
    if not 0 < rank < len(values):
        raise ValueError(
            f"null-space threshold {threshold:g}: {rank} of {len(values)} directions lie below it; right is a "
            f"number between the eigenvalues of C, {float(values[0]):.3g} to {float(values[-1]):.3g}"
        )
    return vectors[:, :rank]


def projected(
    space: torch.Tensor, ridge: float, keys: torch.Tensor, earlier: torch.Tensor | None = None
) -> torch.Tensor:
    """X = (P(KKᵀ + S) + L₂I)⁻¹ P K [D, F] for keys Kᵀ [F, D]: AlphaEdit's solution in the null space of C.

    P = Û Ûᵀ with Û = `space` [D, r], L₂ = `ridge`, S = `earlier` [D, D], the sum of k kᵀ over keys stored before. X
    lies in the range of P, so it is Û y with (Ûᵀ(KKᵀ + S)Û + L₂I) y = ÛᵀK, a symmetric positive system. PAPER:
    AlphaEdit. DIFFERS: the reference solves the D x D system, which is not symmetric, in float32. ValueError if L₂
    is too small.
    """
    inside = keys.double() @ space
    matrix = inside.T @ inside
    if earlier is not None:
        matrix += space.T @ earlier.to(space) @ space
    matrix.diagonal().add_(ridge)
    return space @ _solve(
        matrix, inside.T, lambda: f"P K Kᵀ + {ridge:g} I: the ridge is too small for {len(keys)} keys"
    )


def in_turn(directions: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Left sides Λ [F, d] of rank-one changes Λ_i u_iᵀ made one after another, each meeting its own key on the way.

    `directions` are the u_i [F, D], `keys` the k_i [F, D], `residual` [F, d] what each lacks in the unchanged weight.
    Change j meets the values left by those before it: Σ_{i≤j} Λ_i (u_i·k_j) = residual_j, a triangular system. PAPER:
    ROME eq. 2.
    """
    lower = (keys.double() @ directions.double().T).tril()
    lost = (lower.diagonal() == 0).nonzero()
    if len(lost):
        raise ValueError(
            f"fact {int(lost[0])}: its key is orthogonal to C⁻¹k, so no change along it can store a value there"
        )
    return torch.linalg.solve_triangular(lower, residual.double(), upper=False)


def part(
    residual: torch.Tensor, solution: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor] | torch.Tensor:
    """ΔW = R Xᵀ of R [d, F] and X [D, F] as a part of a Delta, in `dtype`.

    It is the pair (R, X) where that is smaller than the product, else the product [d, D].
    """
    if solution.shape[1] * (len(residual) + len(solution)) < len(residual) * len(solution):
        return residual.to(dtype), solution.to(dtype)
    return (residual.double() @ solution.T).to(dtype)


def _solve(matrix: torch.Tensor, right: torch.Tensor, what: Callable[[], str]) -> torch.Tensor:
    """The product matrix⁻¹ right by Cholesky; ValueError with the words of `what()` if a pivot is lost in rounding."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal().square() / matrix.diagonal()
    if int(failed) or not bool((pivots > len(matrix) * torch.finfo(torch.float64).eps).all()):
        raise ValueError(f"cannot be inverted: {what()}")
    return torch.cholesky_solve(right, factor)
