"""Metrics from raw outcomes, their means and confidence intervals (ROME Sec. 3.3, App. C; MEMIT Sec. 5). No torch."""

import numpy as np
import pandas as pd

RECORD = ["after", "case_id"]  # facts that were edited when a record was read, and the record
TEXTS = ("GE", "RS")  # metrics of generated texts
# kind of prompt -> success, magnitude, accuracy; the target that an edited model should prefer there
KINDS = {
    "rewrite": ("ES", "EM", "EA", "new"),
    "paraphrase": ("PS", "PM", "PA", "new"),
    "neighborhood": ("NS", "NM", "NA", "true"),
}
REVERSE = {
    "reverse": ("VS", "VM", "VA", "new")
}  # the question in the other order, where a record has one; in no other metric
SOME = (*TEXTS, *REVERSE["reverse"][:3])  # metrics that some records have
METRICS = {  # columns of a dataset's records; S is the harmonic mean of the first row
    "counterfact": (
        ("ES", "PS", "NS"),
        ("ES", "EM", "PS", "PM", "NS", "NM", "EA", "PA", "NA", "VS", "VM", "VA", "GE", "RS"),
    ),
    "zsre": (("EA", "PA", "NA"), ("EA", "PA", "NA")),
}


def of(dataset: str, scores: pd.DataFrame) -> pd.DataFrame:
    """The metrics of every record that follow from the table `scores`: one row per `after` (facts edited when it was
    read) and case_id.
    """
    return {"counterfact": probability_metrics, "zsre": accuracy_metrics}[dataset](scores)


def probability_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """ES, EM, EA, PS, PM, PA, NS, NM, NA per record (one row per prompt and target, columns nll and correct); VS, VM,
    VA where it has a reverse question.

    Success is strict: nll_true > nll_new for rewrite and paraphrase, the reverse for neighbourhood. Magnitude is the
    difference of the geometric-mean token probabilities exp(-nll). Accuracy: every token of the wanted target is the
    argmax (MEMIT). ValueError if a prompt lacks one of its two targets, or a record a kind of prompt.
    """
    index = [*RECORD, "kind", "prompt_index"]
    nll, correct = (scores.pivot(index=index, columns="target", values=name) for name in ("nll", "correct"))
    if nll.isna().any(axis=None) or set(nll.columns) != {"new", "true"}:
        raise ValueError("scores: every prompt needs one row with target `new` and one with target `true`")
    columns = {}
    asked = REVERSE if "reverse" in nll.index.unique("kind") else {}
    for kind, (success, magnitude, accuracy, wanted) in (KINDS | asked).items():
        part = nll.xs(kind, level="kind")
        other = "new" if wanted == "true" else "true"
        columns[success] = _means(part[other] > part[wanted])
        columns[magnitude] = _means(np.exp(-part[wanted]) - np.exp(-part[other]))
        columns[accuracy] = _means(correct.xs(kind, level="kind")[wanted].astype(float))
    return _complete(pd.DataFrame(columns))


def accuracy_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """EA, PA, NA per record: share of the answer's tokens that are the argmax (zsRE; one row per token, column
    correct).

    ValueError if a record lacks a kind of prompt, or a token stands twice.
    """
    if scores.duplicated([*RECORD, "kind", "prompt_index", "token"]).any():
        raise ValueError("scores: a token of an answer stands twice")
    columns = {
        accuracy: _means(scores[(scores["kind"] == kind) & (scores["target"] == wanted)].set_index(RECORD)["correct"])
        for kind, (_, _, accuracy, wanted) in KINDS.items()
    }
    return _complete(pd.DataFrame(columns))


def _means(values: pd.Series) -> pd.Series:
    return values.groupby(level=RECORD).mean()


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `after` and case_id as columns. ValueError if a value is missing."""
    needed = table.drop(columns=list(SOME), errors="ignore")
    bad = needed.index[needed.isna().any(axis=1)]
    if len(bad):
        missing = sorted(needed.columns[needed.loc[bad[0]].isna()])
        raise ValueError(f"scores: record {bad[0][1]} has no prompts for {', '.join(missing)}")
    return table.rename_axis(RECORD).reset_index()


def with_texts(records: pd.DataFrame, prose: pd.DataFrame) -> pd.DataFrame:
    """The records with the metrics of their texts (by case_id), which are written when a record is read for the last
    time.
    """
    prose = prose.reindex(columns=["case_id", *TEXTS]).astype({"case_id": "int64"})
    last = records.groupby("case_id")["after"].max().rename("after").reset_index()
    return records.merge(prose.merge(last, on="case_id", how="left"), on=RECORD, how="outer", validate="one_to_one")


def mean_ci(values) -> tuple[float, float, int]:
    """Mean, half width of the 95% interval (1.96 population std / sqrt(N)), and N."""
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or np.isnan(values).any():
        raise ValueError("cannot average: no values, or a missing one")
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values))), len(values)


def summary(records: pd.DataFrame, dataset: str = "counterfact", along: bool = False) -> pd.DataFrame:
    """One row per metric: value and ci times 100, count; S is the harmonic mean of the three means that the dataset
    names.

    `along`: the records were read at several numbers of edited facts, and each has its rows. Otherwise `after` is that
    of the largest group of facts, and all records count. Metrics of texts and of the reverse question are those of the
    records that have one, where any has.
    """
    groups = records.groupby("after") if along else [(records["after"].max(), records)]
    return pd.concat([_summary(part, dataset).assign(after=after) for after, part in groups], ignore_index=True)[
        ["after", "metric", "value", "ci", "count"]
    ]


def _summary(records: pd.DataFrame, dataset: str) -> pd.DataFrame:
    scored, names = METRICS[dataset]
    values = {
        name: records[name].dropna() if name in SOME else records[name]
        for name in names
        if name in records or name not in REVERSE["reverse"]
    }
    means = {name: mean_ci(value) for name, value in values.items() if name not in SOME or len(value)}
    score, width = harmonic_ci(records[list(scored)])
    rows = [{"metric": "S", "value": 100 * score, "ci": 100 * width, "count": len(records)}]
    rows += [
        {"metric": name, "value": 100 * mean, "ci": 100 * ci, "count": count}
        for name, (mean, ci, count) in means.items()
    ]
    return pd.DataFrame(rows)


def harmonic_ci(values: pd.DataFrame) -> tuple[float, float]:
    """The harmonic mean S of the means m of k columns, and the half width of its 95% interval (none where S is 0).

    To first order S changes by sum_j S^2 / (k m_j^2) dm_j, so it is as uncertain as the mean over the records of that
    sum of their own values. DIFFERS: the papers give none for S.
    """
    means = values.mean()
    score = harmonic(list(means))
    if score == 0:
        return score, np.nan
    return score, mean_ci((values * score**2 / (len(means) * means**2)).sum(axis=1))[1]


def harmonic(values: list[float]) -> float:
    """Harmonic mean; 0 as soon as one value is 0."""
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
