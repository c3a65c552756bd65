"""CounterFact metrics from raw outcomes, and their means with confidence intervals (ROME Sec. 3.3, App. C; spec 5). No torch."""

import numpy as np
import pandas as pd

PAIRED = {"rewrite": ("ES", "EM"), "paraphrase": ("PS", "PM"), "neighborhood": ("NS", "NM")}
METRICS = ("ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")


def probability_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """ES, EM, PS, PM, NS, NM per case_id from the table `scores` (one row per prompt and target, column nll).

    Success is strict: nll_true > nll_new for rewrite and paraphrase, the reverse for neighbourhood. Magnitude is the difference
    of the geometric-mean token probabilities exp(-nll). ValueError if a prompt lacks one of its two targets.
    """
    wide = scores.pivot(index=["case_id", "kind", "prompt_index"], columns="target", values="nll")
    if wide.isna().any(axis=None) or set(wide.columns) != {"new", "true"}:
        raise ValueError("scores: every prompt needs one row with target `new` and one with target `true`")
    columns = {}
    for kind, (success, magnitude) in PAIRED.items():
        part = wide.xs(kind, level="kind")
        wanted, other = ("true", "new") if kind == "neighborhood" else ("new", "true")
        columns[success] = (part[other] > part[wanted]).groupby(level="case_id").mean()
        columns[magnitude] = (np.exp(-part[wanted]) - np.exp(-part[other])).groupby(level="case_id").mean()
    return pd.DataFrame(columns).reset_index()


def mean_ci(values) -> tuple[float, float, int]:
    """Mean, half width of the 95% interval (1.96 population std / sqrt(N)), and N."""
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or np.isnan(values).any():
        raise ValueError("cannot average: no values, or a missing one")
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values))), len(values)


def summary(records: pd.DataFrame) -> pd.DataFrame:
    """One row per metric: value and ci times 100, count; S is the harmonic mean of the mean ES, PS and NS."""
    means = {name: mean_ci(records[name]) for name in METRICS}
    score = harmonic([means[name][0] for name in ("ES", "PS", "NS")])
    rows = [{"metric": "S", "value": 100 * score, "ci": np.nan, "count": len(records)}]
    rows += [{"metric": name, "value": 100 * mean, "ci": 100 * ci, "count": count} for name, (mean, ci, count) in means.items()]
    return pd.DataFrame(rows)


def harmonic(values: list[float]) -> float:
    """Harmonic mean; 0 as soon as one value is 0."""
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
