"""The uncentred second moment C of keys as a statistic: summed exactly, solved with, kept on file and checked there.

C = (1/N) Σ k kᵀ of ROME eq. 2 and MEMIT Sec. 4.1. `SecondMoment` accumulates, `Moment` is the finished statistic. The
pass over the text that feeds it is engram.editing.covariance, what editors solve with it engram.editing.closed_form.
Shapes: n tokens of a block, D keys.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from engram.job import arguments, io
from engram.model import checkpoints
from engram.model.loading import LM

STRIPE = 1024  # rows of the lower triangle that are kept and multiplied together
ROOM = 10  # the sum may grow 2^ROOM times beyond what the first block promises
CLEAR = 1e-8  # pivots of Cholesky that are a larger share of their diagonal entry are beyond doubt

Device = torch.device | str


@dataclass(frozen=True)
class Moment:
    """A finished statistic: sum of k kᵀ [D, D], the number of keys, and the ridge that params ask for when solving.

    `ridge` is a fraction of the mean diagonal entry of C; `total` and `mean` are without it. Factorisations are made
    once, on the device that asks first, and kept beside the sum in main memory, so that a GPU holds one at a time.
    """

    total: torch.Tensor
    count: int
    ridge: float = 0.0
    _made: dict[str, list[torch.Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def mean(self) -> torch.Tensor:
        """C = total / count [D, D]."""
        return self.total / self.count

    def ridged(self, device: Device) -> torch.Tensor:
        """C [D, D] in float64 on `device`, with `ridge` times its mean diagonal entry added to the diagonal."""
        matrix = self.total.to(device, torch.float64) / self.count
        if self.ridge:
            matrix.diagonal().add_(self.ridge * matrix.diagonal().mean())
        return matrix

    def solve(self, keys: torch.Tensor) -> torch.Tensor:
        """C⁻¹ keysᵀ in float64 by Cholesky, where the keys are: [D, n] for keys [n, D].

        C has its ridge. ValueError, with the rank, if it cannot be inverted. PAPER: ROME eq. 2. DIFFERS: the reference
        inverts a float32 matrix explicitly.
        """
        if self.ridge or self.count >= len(self.total):
            for factor in self._once("factor", lambda: _factor(self.ridged(keys.device))):
                return torch.cholesky_solve(keys.double().T, factor.to(keys.device))
        raise ValueError(
            f"the second moment has rank {self.rank()} of {len(self.total)} ({self.count} keys, ridge {self.ridge:g}): "
            "raise covariance.articles, or ask for a larger covariance.ridge, which changes the result"
        )

    def spectrum(self, device: Device) -> tuple[torch.Tensor, torch.Tensor]:
        """Eigenvalues [D] of C without its ridge, rising, and eigenvectors [D, D] in columns; float64 on `device`."""
        values, vectors = self._once(
            "spectrum", lambda: torch.linalg.eigh(self.total.to(device, torch.float64) / self.count)
        )
        return values.to(device), vectors.to(device)

    def rank(self, device: Device = "cpu") -> int:
        """The rank of C without its ridge: D where Cholesky works, else by eigenvalues, at most the number of keys.

        What float32 products blur is not seen: a direction that no key has may pass for one with very little weight.
        """
        matrix = self.total.to(device, torch.float64)
        if self.count >= len(matrix) and _factor(matrix):
            return len(matrix)
        return min(self.count, _numerical_rank(matrix))

    def _once(self, name: str, make: Callable[[], tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
        """The tensors that `make` returns; from the first call on they are kept in main memory under `name`."""
        if name not in self._made:
            self._made[name] = [tensor.cpu() for tensor in make()]
        return self._made[name]


class SecondMoment:
    """Accumulates sum of k kᵀ over blocks of keys; only the lower triangle is computed and kept, in stripes of rows.

    With `expected`, the number of keys that will come, block products are rounded to a grid 2^exponent and added as
    64-bit integers: the sum is exact, so it does not depend on how blocks are grouped, and `merge` loses nothing. The
    grid comes from the first block unless `exponent` gives it; its spacing is that of a float64 of the size of the
    largest expected entry. Without `expected`, blocks are added in `dtype`, one after the other.
    """

    def __init__(
        self,
        width: int,
        dtype: torch.dtype = torch.float64,
        device: Device = "cpu",
        expected: int | None = None,
        exponent: int | None = None,
        name: str = "the keys",
    ) -> None:
        self.width, self.count, self.name, self.expected, self.exponent = width, 0, name, expected, exponent
        self.exact = expected is not None
        kept = torch.int64 if self.exact else dtype
        self.stripes = [torch.zeros(end - start, end, dtype=kept, device=device) for start, end in stripes_of(width)]
        self.diagonal = torch.zeros(width, dtype=torch.float64, device=device)  # inexact: watches the size of the sum

    def update(self, keys: torch.Tensor) -> None:
        """Add keys [n, D]: the product in float32 or the keys' own wider precision, the sum exact or in `dtype`.

        Nothing is added if memory runs out on the way.
        """
        keys = keys if keys.dtype == torch.float64 else keys.float()
        products = [keys[:, start:end].T @ keys[:, :end] for start, end in stripes_of(self.width)]
        diagonal = torch.cat(
            [product.diagonal(end - len(product)) for product, (_, end) in zip(products, stripes_of(self.width))]
        ).double()
        if self.exact and self.exponent is None:
            self.exponent = grid(float(diagonal.max()) / len(keys) * cast(int, self.expected))
        parts = [self._kept(product) for product in products]
        diagonal += self.diagonal
        for stripe, part in zip(self.stripes, parts):
            stripe += part
        self.diagonal = diagonal
        self.count += len(keys)

    def _kept(self, product: torch.Tensor) -> torch.Tensor:
        if not self.exact:
            return product.to(self.stripes[0].dtype)
        return (product.double() * 2.0 ** -cast(int, self.exponent)).round_().long()

    def merge(self, other: "SecondMoment") -> None:
        """Add the sum of other keys, exactly. ValueError if the two are not on one grid."""
        if not (self.exact and other.exact) or self.exponent != other.exponent or self.width != other.width:
            raise ValueError(
                f"{self.name}: sums of width {self.width} and {other.width} on the grids 2^{self.exponent} and "
                f"2^{other.exponent} cannot be merged exactly: give every shard the grid of the first"
            )
        for stripe, part in zip(self.stripes, other.checked().stripes):
            stripe += part.to(stripe.device)
        self.diagonal = self.diagonal + other.diagonal.to(self.diagonal.device)
        self.count += other.count
        self.checked()

    def checked(self) -> "SecondMoment":
        """This sum, if it can be trusted.

        ValueError if a key was not finite, OverflowError if the sum has grown beyond its grid.
        """
        largest = float(self.diagonal.max())
        if not math.isfinite(largest):
            raise ValueError(
                f"{self.name}: a key is not finite, or its square is not; C cannot be computed from these texts"
            )
        if self.exact and self.exponent is not None and largest >= 2.0 ** (62 + self.exponent):
            raise OverflowError(
                f"{self.name}: the sum has an entry of {largest:.3g}, but its grid ends at "
                f"{2.0 ** (62 + self.exponent):.3g}, {2**ROOM} times what the first batch promised; dtype float32 or "
                "another order of the texts has no such limit"
            )
        return self

    def result(self) -> Moment:
        """The statistic so far, in main memory, exactly symmetric. ValueError if nothing was added."""
        if self.count == 0:
            raise ValueError(f"{self.name}: no keys were added")
        self.checked()
        kept = torch.float64 if self.exact else self.stripes[0].dtype
        total = torch.empty(self.width, self.width, dtype=kept)
        for stripe, (start, end) in zip(self.stripes, stripes_of(self.width)):
            rows = stripe.double().mul_(2.0 ** cast(int, self.exponent)).cpu() if self.exact else stripe.cpu()
            rows[:, start:] = rows[:, start:].tril() + rows[:, start:].tril(-1).T
            total[start:end, :end], total[:start, start:end] = rows, rows[:, :start].T
        return Moment(total, self.count)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, int | None]]:
        """All that `restore` needs to go on from here: tensors, and numbers for json. Raises as `checked` does."""
        self.checked()
        tensors = {f"stripe.{i}": stripe for i, stripe in enumerate(self.stripes)} | {"diagonal": self.diagonal}
        return tensors, {"count": self.count, "exponent": self.exponent}

    def restore(self, tensors: dict[str, torch.Tensor], about: dict) -> None:
        """Continue from the `state` of a sum of the same width."""
        for i, stripe in enumerate(self.stripes):
            stripe.copy_(tensors[f"stripe.{i}"])
        self.diagonal.copy_(tensors["diagonal"])
        self.count, self.exponent = about["count"], about["exponent"]


def stripes_of(width: int) -> list[tuple[int, int]]:
    """Rows [start, end) of the stripes of a [width, width] sum.

    There are at least four, so that little more than half of the matrix is computed.
    """
    step = min(STRIPE, max(64, -(-width // 4)))
    return [(start, min(start + step, width)) for start in range(0, width, step)]


def bytes_of(width: int, dtype: torch.dtype = torch.float64) -> int:
    """Bytes of device memory that the sum of one layer takes, for keys of `width`."""
    return sum((end - start) * end for start, end in stripes_of(width)) * dtype.itemsize + 8 * width


def grid(largest: float) -> int:
    """The exponent of the grid for sums whose largest entry is expected to be `largest`.

    2^ROOM times as much fits into 62 bits.
    """
    return math.frexp(largest)[1] + ROOM - 62 if largest > 0 and math.isfinite(largest) else ROOM - 62


def _factor(matrix: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The Cholesky factor, alone in a tuple that is empty if there is none, or one of rounding alone."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    clear = bool((factor.diagonal().square() > CLEAR * matrix.diagonal()).all())
    return () if int(failed) or not (clear or _numerical_rank(matrix) == len(matrix)) else (factor,)


def _numerical_rank(matrix: torch.Tensor) -> int:
    """The number of eigenvalues beyond rounding, after scaling to a unit diagonal.

    Those up to twice the size of the most negative one are noise.
    """
    scale = matrix.diagonal().clamp_min(0).rsqrt().nan_to_num(posinf=0.0)
    values = torch.linalg.eigvalsh(matrix * scale * scale[:, None])
    rounding = len(matrix) * torch.finfo(torch.float64).eps * float(values[-1])
    return int((values > max(rounding, -2 * float(values[0]))).sum())


def identity(job: arguments.Job) -> dict[str, str]:
    """Whose keys a job with the input `manifest` deals with: a hash over the weights, one of the tokenizer."""
    manifest = checkpoints.read(job.inputs.manifest)
    return {key: manifest[key] for key in ("weights", "tokenizer")}


def to_tensors(
    moments: dict[int, Moment], about: dict[str, Any] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The form in which moments are stored: tensors `layer.<l>` [D, D], the sums; metadata `about` and the counts."""
    return (
        {f"layer.{layer}": moment.total for layer, moment in moments.items()},
        (about or {}) | {"count": {str(layer): moment.count for layer, moment in moments.items()}},
    )


def from_tensors(
    tensors: dict[str, torch.Tensor], metadata: dict[str, Any], lm: LM | None = None, expected: dict | None = None
) -> dict[int, Moment]:
    """The moments by layer that `to_tensors` put into this form.

    ValueError if they do not fit the keys of the model `lm`, or differ from `expected`, its `identity`.
    """
    for key, value in (expected or {}).items():
        if metadata.get(key) != value:
            raise ValueError(
                f"second moments of {_named(metadata)} cannot be used with {_named(expected or {})}: the {key} "
                f"differ{'' if key == 'weights' else 's'}; run the stage covariance for this model"
            )
    layers = sorted(int(name.removeprefix("layer.")) for name in tensors)
    moments = {
        layer: Moment(tensors[f"layer.{layer}"], metadata["count"][str(layer)], metadata.get("ridge", 0.0))
        for layer in layers
    }
    if lm is not None:
        _check_widths(moments, metadata.get("model", "an unnamed model"), lm)
    return moments


def _check_widths(moments: dict[int, Moment], origin: str, lm: LM) -> None:
    """ValueError for the first layer whose C, of the model `origin`, has not the width of the keys of `lm` there."""
    for layer, moment in moments.items():
        width, right = len(moment.total), lm.key_width(layer) if layer < lm.layers else 0
        if width != right:
            raise ValueError(
                f"layer {layer}: second moments of {origin} have width {width}, but the keys of {lm.name} there have "
                f"width {right}"
            )


def _named(about: dict) -> str:
    words = (f"{key} {about.get(key, 'unknown')}" for key in ("model", "weights", "tokenizer"))
    return " / ".join(words)


def load(path: Path, job: arguments.Job, lm: LM) -> dict[int, Moment]:
    """The moments by layer from the file `path`, in main memory, for the model `lm` that `job` edits.

    ValueError if they are of another model, or not finite.
    """
    moments = from_tensors(*io.read_tensors(path), lm, identity(job))
    bad = [layer for layer, moment in moments.items() if not bool(moment.total.isfinite().all())]
    if bad:
        raise ValueError(f"{path}: the second moment of layer {bad[0]} has entries that are not finite; make it anew")
    return moments
