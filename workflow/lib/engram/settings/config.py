"""Frozen settings of a stage, built strictly from its slice of params.yaml."""

from dataclasses import MISSING, fields


def build(cls, values: dict, where: str):
    """`cls(**values)` for a dataclass; ValueError names an unknown or a missing key and what would be right."""
    known = {field.name for field in fields(cls)}
    unknown = sorted(set(values) - known)
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    missing = sorted(required - set(values))
    if unknown or missing:
        raise ValueError(f"{where}: unknown keys {unknown}, missing keys {missing}; known keys are {sorted(known)}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
