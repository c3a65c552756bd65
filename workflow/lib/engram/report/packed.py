"""Numbers for a page: rounded to 16 bits, in base64."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STEPS, NOTHING = 65534, 65535  # a probability p is kept as round(p * STEPS); NOTHING where there is none


def probabilities(values: ArrayLike) -> str:
    """Probabilities, nan for none, as little-endian 16-bit integers in base64; the error is 0.5 / STEPS at most.

    ValueError if a value is outside of 0 … 1 by more than rounding.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    known = ~np.isnan(flat)
    if known.any() and (flat[known].min() < -1e-6 or flat[known].max() > 1 + 1e-6):
        raise ValueError(f"a probability of {flat[known].min()} … {flat[known].max()}")
    whole = np.full(flat.shape, NOTHING, dtype="<u2")
    whole[known] = np.rint(np.clip(flat[known], 0, 1) * STEPS)
    return base64.b64encode(whole.tobytes()).decode()


def script(value: Any) -> str:
    """JSON that can stand in a script element whatever its texts hold: no `<` is left."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
