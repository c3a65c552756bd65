"""What the browser of edits shows: every record with what each editor made of it, beside the unedited model."""

from typing import Any

import numpy as np
import pandas as pd

from engram.drawing import style
from engram.evaluation import metrics
from engram.report import packed

RECORDS = 500  # of a dataset, the first ones
LETTERS = 3_000_000  # of generated texts in one dataset, about
KINDS = ("rewrite", "paraphrase", "neighborhood", "attribute", "reverse")
ABOUT = {  # kinds of prompts, in words
    "counterfact": (
        "Rewrite: the edit itself",
        "Paraphrases: the same fact in other words",
        "Neighbourhood: other subjects of the same true object",
        "Attributes: other subjects that have the new object",
        "Reverse: the question in the other order",
    ),
    "zsre": (
        "Rewrite: the edit itself",
        "Paraphrase: the same question in other words",
        "Neighbourhood: an unrelated question",
    ),
}
TARGETS = ("new", "true")


def browser(dataset: str, records: pd.DataFrame, read: dict, model: str) -> dict:
    """`read`: method -> its frames `scores` and `texts`, of edits of single facts. `records`: the table of the dataset.

    `scores` of a method hold, by record, prompt and target, the probability (of several tokens their geometric mean)
    and the share of tokens that are the first choice. ValueError names a prompt that the records do not have.
    """
    methods = style.method_order(read)
    edited = pd.concat([read[method]["scores"]["case_id"] for method in methods]).unique()
    every = records[records["case_id"].isin(edited)]
    rows = every.head(RECORDS)
    prompts = [prompts_of(dataset, row) for row in rows.itertuples()]
    places = {
        (case, kind, index): at
        for at, (case, kind, index) in enumerate(
            (case, kind, index) for case, asked in zip(rows["case_id"], prompts) for kind, index, _ in asked
        )
    }
    names, written = _metrics(dataset), _written(rows, read)
    texts = _Texts()
    return {
        "dataset": dataset,
        "total": len(every),
        "steps": packed.STEPS,
        "nothing": packed.NOTHING,
        "metrics": names,
        "written": len(written),
        "kinds": ABOUT[dataset],
        "records": [_record(row, asked) for row, asked in zip(rows.itertuples(), prompts)],
        "methods": [
            {
                "name": method,
                "label": style.method_label(method, model),
                **_scores(dataset, read[method]["scores"], rows, places, names),
                "texts": texts.of(read[method]["texts"], written),
            }
            for method in methods
        ],
        "texts": texts.all,
    }


def prompts_of(dataset: str, row: Any) -> list[tuple[str, int, str]]:
    """(kind, index, text) of all prompts by which a record is judged, as in `engram.editing.records`."""
    edit = ("rewrite", 0, row.prompt.replace("{}", row.subject))
    if dataset == "zsre":
        return [edit, ("paraphrase", 0, row.rephrase), ("neighborhood", 0, row.loc + "?")]
    return [
        edit,
        *((kind, index, text) for kind in KINDS[1:] for index, text in enumerate(getattr(row, f"{kind}_prompts", []))),
    ]


def with_reverse(records: pd.DataFrame, reverse: pd.DataFrame) -> pd.DataFrame:
    """The records with a column `reverse_prompts`: the prompt of the table `reverse` that each has, or none."""
    prompts = reverse.groupby("case_id")["prompt"].agg(list)
    return records.assign(reverse_prompts=[prompts.get(case, []) for case in records["case_id"]])


def _metrics(dataset: str) -> list[str]:
    return list(metrics.METRICS[dataset][0])


def _record(row: Any, asked: list[tuple[str, int, str]]) -> dict[str, Any]:
    """A record: `true` is what an unedited model should say, of zsRE's neighbour `near`."""
    about = {
        "case": int(row.case_id),
        "subject": row.subject,
        "prompt": row.prompt,
        "new": row.target_new,
        "true": row.target_true,
        "near": getattr(row, "loc_target", None),
        "relation": getattr(row, "relation_id", ""),
    }
    return about | {"prompts": [[KINDS.index(kind), text] for kind, _, text in asked]}


def _scores(dataset: str, scores: pd.DataFrame, rows: pd.DataFrame, places: dict, names: list[str]) -> dict:
    """Probabilities and first choices of one method, at `places`; its metrics by record, None where it has not edited
    it.
    """
    scores = scores[scores["case_id"].isin(rows["case_id"])]
    keys = ["case_id", "kind", "prompt_index", "target"]
    by_target = scores.groupby(keys).agg(nll=("nll", "mean"), correct=("correct", "mean")).reset_index()
    unknown = [key for key in zip(*(by_target[name] for name in keys[:3])) if key not in places]
    if unknown:
        raise ValueError(f"scores of {dataset}: record, kind and prompt {unknown[0]} are not among the records")
    at = [places[key] for key in zip(*(by_target[name] for name in keys[:3]))]
    which = by_target["target"].map(TARGETS.index).to_numpy()
    likely, first = (np.full((len(places), len(TARGETS)), np.nan) for _ in range(2))
    likely[at, which], first[at, which] = np.exp(-by_target["nll"]), by_target["correct"]
    table = metrics.of(dataset, scores).set_index("case_id")[names].reindex(rows["case_id"])
    measured = [None if row.isna().any() else [round(float(value), 4) for value in row] for _, row in table.iterrows()]
    return {"likely": packed.probabilities(likely), "first": packed.probabilities(first), "measured": measured}


def _written(rows: pd.DataFrame, read: dict) -> list[int]:
    """The first records that anybody wrote about, as many as the letters allow."""
    sizes = pd.concat(
        [
            frames["texts"].groupby("case_id")["text"].apply(lambda texts: texts.str.len().sum())
            for frames in read.values()
        ]
    )
    sizes = sizes.groupby(level=0).sum() if len(sizes) else sizes
    kept = [case for case in rows["case_id"] if case in sizes.index]
    return [int(case) for case, size in zip(kept, sizes.loc[kept].cumsum()) if size <= LETTERS]


class _Texts:
    """Every text once; a method's are numbers of these."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def of(self, frame: pd.DataFrame, cases: list[int]) -> dict[str, list[list[int]]]:
        """Case -> pairs of prompt and text, by their places in `all`."""
        rows = frame[frame["case_id"].isin(cases)].sort_values(["case_id", "prompt_index"])
        return {
            str(case): [[self._at(row.prompt), self._at(row.text)] for row in part.itertuples()]
            for case, part in rows.groupby("case_id")
        }

    def _at(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.all)
            self.all.append(text)
        return self._places[text]
