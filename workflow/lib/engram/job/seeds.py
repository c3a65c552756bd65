"""Seeds per (model, stage, item), so that no number depends on the order or the sharding of jobs."""

import hashlib

import numpy as np


def seed_of(*key: object) -> int:
    """A 63-bit seed from the words of `key`, e.g. `seed_of(0, "mini", "edit", case_id)`."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(*key: object) -> np.random.Generator:
    """A numpy generator of its own for `key` (counter-based Philox)."""
    return np.random.Generator(np.random.Philox(seed_of(*key)))
