"""Metrics from raw outcomes, their means and confidence intervals (ROME Sec. 3.3, App. C; MEMIT Sec. 5). No torch."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from engram.datasets import original_formats
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Rows, Tables, half_width
from engram.settings.fact_groups import FactGroup

RECORD = ["after", "case_id"]  # facts that were edited when a record was read, and the record
OTHER = {"new": "true", "true": "new"}
NO_JOB = SimpleNamespace(config={}, keys=SimpleNamespace(), script=Path())  # of tables that are computed by hand
# kind of prompt -> success, magnitude, accuracy; the target that an edited model should prefer there
KINDS = {
    "rewrite": ("ES", "EM", "EA", "new"),
    "paraphrase": ("PS", "PM", "PA", "new"),
    "neighborhood": ("NS", "NM", "NA", "true"),
}
REVERSE = {
    "reverse": ("VS", "VM", "VA", "new")
}  # the question in the other order, where a record has one; in no other metric
SOME = ("GE", "RS", *REVERSE["reverse"][:3])  # metrics that some records have
METRICS = {  # columns of a dataset's records; S is the harmonic mean of the first row
    "counterfact": (
        ("ES", "PS", "NS"),
        ("ES", "EM", "PS", "PM", "NS", "NM", "EA", "PA", "NA", "VS", "VM", "VA", "GE", "RS"),
    ),
    "zsre": (("EA", "PA", "NA"), ("EA", "PA", "NA")),
}


SCORES = Rows("scores", by=("after", "case_id"))
ASKED = Rows("reverse", by=("after", "case_id"), optional=True, of_input="scores")  # of reverse questions
TEXTS = Rows("texts", by=("after", "case_id"), optional=True)


def _preferred(table: pd.DataFrame, by: list[str], wanted: str) -> pd.Series:
    """Share of prompts where the wanted target is the likelier one, strictly."""
    nll = table.pivot(index=[*by, "prompt_index"], columns="target", values="nll")
    return (nll[OTHER[wanted]] > nll[wanted]).groupby(level=by).mean()


def _margin(table: pd.DataFrame, by: list[str], wanted: str) -> pd.Series:
    """Mean over prompts of exp(-nll) of the wanted target less that of the other: geometric means over tokens."""
    nll = table.pivot(index=[*by, "prompt_index"], columns="target", values="nll")
    return (np.exp(-nll[wanted]) - np.exp(-nll[OTHER[wanted]])).groupby(level=by).mean()


def _of_kind(kind: str) -> dict[str, Number]:
    """Success, magnitude and accuracy of one record from its prompts of a kind.

    Success is strict: nll_true > nll_new for rewrite and paraphrase, the reverse for neighbourhood. Magnitude is the
    difference of the geometric-mean token probabilities exp(-nll). Accuracy: every token of the wanted target is the
    argmax (MEMIT); of zsRE, where a row is a token, the share of tokens that are (`correct`).
    """
    success, magnitude, accuracy, wanted = (KINDS | REVERSE)[kind]
    rows, columns = (ASKED if kind in REVERSE else SCORES).only(kind=kind), ("prompt_index", "target", "nll")
    share = f"share of prompts where the {wanted} target is the likelier one"
    margin = f"mean over prompts of p({wanted}) less p({OTHER[wanted]}), p = exp(-nll)"
    return {
        success: rows.apply(partial(_preferred, wanted=wanted), share, *columns),
        magnitude: rows.apply(partial(_margin, wanted=wanted), margin, *columns),
        accuracy: rows.only(target=wanted).mean("correct"),
    }


def _entropy(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """GE of each record's texts."""
    from engram.evaluation import text_metrics  # loads scikit-learn and nltk, which most evaluations can do without

    return _written(table, by).map(text_metrics.generation_entropy).astype(float)


def _similarity(
    table: pd.DataFrame,
    by: list[str],
    facts: pd.DataFrame,
    snippets: pd.DataFrame,
    vocabulary: Path | None,
    idf: Path | None,
) -> pd.Series:
    """RS of each record's texts, in the published TF-IDF space if the source has one, else that of the snippets."""
    from engram.evaluation import text_metrics

    texts = _written(table, by)
    if texts.empty:
        return texts.astype(float)
    wanted, space = facts.set_index("case_id")[["relation_id", "target_new_id"]], None
    if vocabulary and idf:
        space = text_metrics.published(original_formats.vocabulary(vocabulary), original_formats.idf(idf))
    references = text_metrics.References(snippets, space)
    pairs = [wanted.loc[case] for case in texts.index.get_level_values("case_id")]
    return pd.Series([references.similarity(own, *pair) for own, pair in zip(texts, pairs)], texts.index)


def _written(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """The texts of each record, in the order of their prompts."""
    return table.sort_values("prompt_index").groupby(by)["text"].agg(list)


RECORD_COLUMNS: dict[str, Number] = {
    **dict.fromkeys(("model", "dataset", "method", "n"), KEY),
    "relation_id": Rows("facts", by=("case_id",), optional=True).cell("relation_id"),
    **dict.fromkeys(RECORD, KEY),
}
OF_TEXTS: dict[str, Number] = {
    "GE": TEXTS.apply(_entropy, "n-gram entropy", "prompt_index", "text"),
    "RS": TEXTS.apply(
        _similarity,
        "likeness to reference texts",
        "prompt_index",
        "text",
        also=(Rows("facts"), Rows("snippets"), Rows("vocabulary", optional=True), Rows("idf", optional=True)),
    ),
}


def records(dataset: str) -> Derivation:
    """The metrics of every record, one row per `after` (facts that were edited when the record was read) and case_id,
    from the tables `scores` and, where the job has them, `facts`, `texts` and `snippets`.

    counterfact: ES, EM, EA, PS, PM, PA, NS, NM, NA from one row per prompt and target (columns nll and correct); VS,
    VM, VA where a record has a reverse question; GE and RS of texts, which are written when a record is read for the
    last time. zsre: EA, PA, NA from one row per token. ValueError if a prompt lacks one of its two targets, a record a
    kind of prompt, or a token stands twice.
    """
    kinds = {name: number for kind in KINDS for name, number in _of_kind(kind).items()}
    if dataset == "zsre":
        own = {accuracy: kinds[accuracy] for _, _, accuracy, _ in KINDS.values()}
    else:
        own = kinds | _of_kind("reverse") | OF_TEXTS
    return Derivation(RECORD_COLUMNS | own, partial(_record_rows, dataset=dataset), _with_last)


def _with_last(tables: Tables, job: Job) -> dict[str, Any]:
    """The scores of reverse questions; the texts with the `after` of the last reading of their record."""
    scores = tables["scores"]
    reverse = scores[scores["kind"] == "reverse"]
    more: dict[str, Any] = {"reverse": reverse if len(reverse) else None}
    if "texts" in tables:
        last = scores.groupby("case_id")["after"].max()
        texts = tables["texts"]
        more["texts"] = texts.assign(after=texts["case_id"].map(last).astype("int64"))
    return more


def _record_rows(tables: Tables, job: Job, dataset: str) -> pd.DataFrame:
    """The records that `scores` holds, each as often as it was read."""
    scores = tables["scores"]
    rows = scores[RECORD].drop_duplicates().sort_values(RECORD)
    if dataset == "zsre":
        if scores.duplicated([*RECORD, "kind", "prompt_index", "token"]).any():
            raise ValueError("scores: a token of an answer stands twice")
    else:
        targets = scores.groupby([*RECORD, "kind", "prompt_index"])["target"]
        if (targets.size() != 2).any() or set(scores["target"]) != {"new", "true"} or (targets.nunique() != 2).any():
            raise ValueError("scores: every prompt needs one row with target `new` and one with target `true`")
    for kind, names in KINDS.items():
        asked = pd.MultiIndex.from_frame(scores.loc[scores["kind"] == kind, RECORD])
        without = rows[~pd.MultiIndex.from_frame(rows).isin(asked)]
        if len(without):
            missing = ", ".join(sorted(names[:3] if dataset != "zsre" else names[2:3]))
            raise ValueError(f"scores: record {without['case_id'].iloc[0]} has no prompts for {missing}")
    return rows.assign(**_keys(job))


def _keys(job: Job) -> dict[str, Any]:
    """The keys of the job as columns of its tables."""
    keys = vars(job.keys)
    return keys | ({"n": FactGroup.parse(keys["n"]).column} if "n" in keys else {})


def of(dataset: str, scores: pd.DataFrame) -> pd.DataFrame:
    """The metrics of every record that follow from the table `scores` alone; see `records`."""
    return records(dataset).compute(Tables.of(scores=scores), NO_JOB)


def numbers(rows: Rows, dataset: str) -> dict[str, Number]:
    """Columns value, ci and count of the key `metric` over rows of the table of records: its mean times 100, half of
    the 95% interval, and the number of records. S is the harmonic mean of the three means that the dataset names;
    metrics of texts and of the reverse question are those of the records that have one.
    """
    scored, names = METRICS[dataset]
    score = rows.each(lambda part: harmonic_ci(part)[0], "harmonic mean of the means", *scored)
    width = rows.each(
        lambda part: harmonic_ci(part)[1], "half width of the 95% interval of their harmonic mean", *scored
    )
    return {
        "value": Choice("metric", {"S": 100 * score, **{name: 100 * rows.mean(name) for name in names}}),
        "ci": Choice("metric", {"S": 100 * width, **{name: 100 * rows.half_width(name) for name in names}}),
        "count": Choice("metric", {"S": rows.count(scored[0]), **{name: rows.count(name) for name in names}}),
    }


def measured(records: pd.DataFrame, dataset: str) -> list[str]:
    """S and the metrics that records have numbers for. ValueError if one that every record has is missing in one."""
    names = [name for name in METRICS[dataset][1] if name in records or name not in SOME]
    missing = records[[name for name in names if name not in SOME]].isna().any()
    if missing.any():
        raise ValueError(f"cannot average: of {missing.idxmax()} no values, or a missing one")
    return ["S", *(name for name in names if name not in SOME or records[name].notna().any())]


def summaries(dataset: str, along: bool = False) -> Derivation:
    """One row per metric from the table `records`: value and ci times 100, count; see `numbers`.

    `along`: the records were read at several numbers of edited facts, and each has its rows. Otherwise `after` is that
    of the largest group of facts, and all records count.
    """

    def rows(tables: Tables, job: Job) -> pd.DataFrame:
        groups = tables["records"].groupby("after")
        pairs = [(after, metric) for after, part in groups for metric in measured(part, dataset)]
        return pd.DataFrame(pairs, columns=["after", "metric"]).assign(**_keys(job))

    def prepare(tables: Tables, job: Job) -> dict[str, Any]:
        table = tables["records"]
        return {} if along else {"records": table.assign(after=table["after"].max())}

    keys = dict.fromkeys(("model", "dataset", "method", "n", "after", "metric"), KEY)
    return Derivation(keys | numbers(Rows("records", by=("after",)), dataset), rows, prepare)


def summary(records: pd.DataFrame, dataset: str = "counterfact", along: bool = False) -> pd.DataFrame:
    """The table of `summaries` from records that are there already."""
    return summaries(dataset, along).compute(Tables.of(records=records), NO_JOB)


def derivations(job: Job) -> dict[str, Derivation]:
    """The two tables of stage evaluate by the names of its outputs; the second reads the first."""
    dataset, along = job.keys.dataset, FactGroup.parse(job.keys.n).batch is not None
    return {"records": records(dataset), "summary": summaries(dataset, along)}


def harmonic_ci(values: pd.DataFrame) -> tuple[float, float]:
    """The harmonic mean S of the means m of k columns, and the half width of its 95% interval (none where S is 0).

    To first order S changes by sum_j S^2 / (k m_j^2) dm_j, so it is as uncertain as the mean over the records of that
    sum of their own values. DIFFERS: the papers give none for S.
    """
    means = values.mean()
    score = harmonic(list(means))
    if score == 0:
        return score, np.nan
    return score, half_width((values * score**2 / (len(means) * means**2)).sum(axis=1))


def harmonic(values: list[float]) -> float:
    """Harmonic mean; 0 as soon as one value is 0."""
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
