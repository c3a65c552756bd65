"""Metrics from raw outcomes, their means and confidence intervals (ROME Sec. 3.3, App. C; MEMIT Sec. 5; spec 5). No torch."""

import numpy as np
import pandas as pd

# kind of prompt -> success, magnitude, accuracy; the target that an edited model should prefer there
KINDS = {"rewrite": ("ES", "EM", "EA", "new"), "paraphrase": ("PS", "PM", "PA", "new"),
         "neighborhood": ("NS", "NM", "NA", "true")}
METRICS = {  # columns of a dataset's records; S is the harmonic mean of the first row
    "counterfact": (("ES", "PS", "NS"), ("ES", "EM", "PS", "PM", "NS", "NM", "EA", "PA", "NA", "GE", "RS")),
    "zsre": (("EA", "PA", "NA"), ("EA", "PA", "NA")),
}


def of(dataset: str, scores: pd.DataFrame) -> pd.DataFrame:
    """The metrics of every record that follow from the table `scores`."""
    return {"counterfact": probability_metrics, "zsre": accuracy_metrics}[dataset](scores)


def probability_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """ES, EM, EA, PS, PM, PA, NS, NM, NA per case_id (one row per prompt and target, columns nll and correct).

    Success is strict: nll_true > nll_new for rewrite and paraphrase, the reverse for neighbourhood. Magnitude is the difference
    of the geometric-mean token probabilities exp(-nll). Accuracy: every token of the wanted target is the argmax (MEMIT).
    ValueError if a prompt lacks one of its two targets, or a record a kind of prompt.
    """
    index = ["case_id", "kind", "prompt_index"]
    nll, correct = (scores.pivot(index=index, columns="target", values=name) for name in ("nll", "correct"))
    if nll.isna().any(axis=None) or set(nll.columns) != {"new", "true"}:
        raise ValueError("scores: every prompt needs one row with target `new` and one with target `true`")
    columns = {}
    for kind, (success, magnitude, accuracy, wanted) in KINDS.items():
        part = nll.xs(kind, level="kind")
        other = "new" if wanted == "true" else "true"
        columns[success] = _means(part[other] > part[wanted])
        columns[magnitude] = _means(np.exp(-part[wanted]) - np.exp(-part[other]))
        columns[accuracy] = _means(correct.xs(kind, level="kind")[wanted].astype(float))
    return _complete(pd.DataFrame(columns))


def accuracy_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """EA, PA, NA per case_id: share of the answer's tokens that are the argmax (zsRE; one row per token, column correct).

    ValueError if a record lacks a kind of prompt, or a token stands twice.
    """
    if scores.duplicated(["case_id", "kind", "prompt_index", "token"]).any():
        raise ValueError("scores: a token of an answer stands twice")
    columns = {accuracy: _means(scores[(scores["kind"] == kind) & (scores["target"] == wanted)].set_index("case_id")["correct"])
               for kind, (_, _, accuracy, wanted) in KINDS.items()}
    return _complete(pd.DataFrame(columns))


def _means(values: pd.Series) -> pd.Series:
    return values.groupby(level="case_id").mean()


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """The table with case_id as a column. ValueError if a value is missing."""
    bad = table.index[table.isna().any(axis=1)]
    if len(bad):
        missing = sorted(table.columns[table.loc[bad[0]].isna()])
        raise ValueError(f"scores: record {bad[0]} has no prompts for {', '.join(missing)}")
    return table.rename_axis("case_id").reset_index()


def mean_ci(values) -> tuple[float, float, int]:
    """Mean, half width of the 95% interval (1.96 population std / sqrt(N)), and N."""
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or np.isnan(values).any():
        raise ValueError("cannot average: no values, or a missing one")
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values))), len(values)


def summary(records: pd.DataFrame, dataset: str = "counterfact") -> pd.DataFrame:
    """One row per metric: value and ci times 100, count; S is the harmonic mean of the three means that the dataset names."""
    scored, names = METRICS[dataset]
    means = {name: mean_ci(records[name]) for name in names}
    score = harmonic([means[name][0] for name in scored])
    rows = [{"metric": "S", "value": 100 * score, "ci": np.nan, "count": len(records)}]
    rows += [{"metric": name, "value": 100 * mean, "ci": 100 * ci, "count": count} for name, (mean, ci, count) in means.items()]
    return pd.DataFrame(rows)


def harmonic(values: list[float]) -> float:
    """Harmonic mean; 0 as soon as one value is 0."""
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
