"""Numbers for a page: rounded to 16 bits, in base64."""

import base64
import json

import numpy as np

STEPS, NOTHING = 65534, 65535  # a probability p is kept as round(p * STEPS); NOTHING where there is none


def probabilities(values) -> str:
    """Probabilities, nan for none, as little-endian 16-bit integers in base64; the error is 0.5 / STEPS at most.

    ValueError if a value is outside of 0 … 1 by more than rounding.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    known = ~np.isnan(values)
    if known.any() and (values[known].min() < -1e-6 or values[known].max() > 1 + 1e-6):
        raise ValueError(f"a probability of {values[known].min()} … {values[known].max()}")
    whole = np.full(values.shape, NOTHING, dtype="<u2")
    whole[known] = np.rint(np.clip(values[known], 0, 1) * STEPS)
    return base64.b64encode(whole.tobytes()).decode()


def script(value) -> str:
    """JSON that can stand in a script element whatever its texts hold: no `<` is left."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
