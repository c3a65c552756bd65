"""Texts that a model writes before and after an edit, case by case: from tables `facts` and `texts` (ROME Fig. 6, 19,
25).
"""

import csv
from dataclasses import dataclass, field

import pandas as pd

from engram.drawing import prose, style
from engram.job import io
from engram.settings import config

COLUMNS = [
    "model",
    "case_id",
    "relation_id",
    "subject",
    "rewrite_prompt",
    "target_true",
    "target_new",
    "method",
    "prompt_index",
    "prompt",
    "text",
]


@dataclass(frozen=True)
class Settings:
    """`options` of an item that shows texts."""

    cases: int = 3
    case_ids: dict = field(default_factory=dict)  # by model: case_id of the records shown, not chosen by rule


def item(job, draw) -> None:
    """A figure of texts: `draw(frame)` of `table`'s frame."""
    where = f"paper: rome/{job.script.stem}"
    settings = config.build(Settings, job.config["paper"], where)
    texts = pd.concat([io.read_table(path) for path in job.inputs.texts], ignore_index=True)
    frame = table(io.read_table(job.inputs.facts), texts, job.keys.model, settings, where)
    fig = draw(frame)
    job.write("pdf", fig)
    job.write("png", fig)
    job.write("csv", quoted(frame))


def quoted(frame: pd.DataFrame) -> bytes:
    """A csv with every field quoted: a lone carriage return inside a text would otherwise end the row for some
    readers.
    """
    return frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL).encode()


def choose(facts: pd.DataFrame, available, settings: Settings, model: str, where: str = "samples") -> list[int]:
    """The records that `settings.case_ids` names for the model, else `settings.cases` ids among `available`: one per
    relation first, then the lowest left. ValueError if there are too few, or a named one has no texts of every method.
    """
    pool = facts[facts["case_id"].isin(set(available))].sort_values("case_id")
    if model in settings.case_ids:
        missing = [case for case in settings.case_ids[model] if case not in set(pool["case_id"])]
        if missing:
            raise ValueError(
                f"{where}: case_ids.{model}: {missing} have no texts of every method; right are some of the "
                f"{len(pool)} that do, the first {pool['case_id'].head(5).tolist()}"
            )
        return list(settings.case_ids[model])
    if len(pool) < settings.cases:
        raise ValueError(f"{where}: {settings.cases} cases wanted, {len(pool)} have texts of every method")
    first = pool.drop_duplicates("relation_id")
    rest = pool[~pool["case_id"].isin(first["case_id"])]
    return [int(case) for case in pd.concat([first, rest])["case_id"].head(settings.cases)]


def table(
    facts: pd.DataFrame, texts: pd.DataFrame, model: str, settings: Settings, where: str = "samples"
) -> pd.DataFrame:
    """One row per chosen case and method: edit, text of the lowest prompt_index. ValueError on doubled texts."""
    keys = ["method", "case_id", "prompt_index"]
    if texts.duplicated(keys).any():
        raise ValueError(f"texts: {texts[texts.duplicated(keys)][keys].head(3).values.tolist()} occur twice")
    by_method = texts.groupby("method")["case_id"].agg(set)
    rows = []
    for case in choose(facts, set.intersection(*by_method), settings, model, where):
        fact = facts[facts["case_id"] == case].iloc[0]
        index = texts.loc[texts["case_id"] == case, "prompt_index"].min()
        here = texts[(texts["case_id"] == case) & (texts["prompt_index"] == index)].set_index("method")
        for method in style.method_order(texts["method"]):
            rows.append(
                {
                    **fact[["relation_id", "subject", "target_true", "target_new"]],
                    "model": model,
                    "case_id": case,
                    "rewrite_prompt": fact["prompt"].replace("{}", fact["subject"]),
                    "method": method,
                    "prompt_index": int(index),
                    **here.loc[method, ["prompt", "text"]],
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(frame: pd.DataFrame, most: int):
    """Blocks of wrapped text at double-column width, one per case of `table`'s frame; a text has at most `most`
    lines.
    """
    return prose.page([_block(rows) for _, rows in frame.groupby("case_id", sort=False)], most)


def _block(rows: pd.DataFrame) -> list[tuple[str, list]]:
    """(label, pieces) of one case: the edit, the rewrite prompt, and each method's text."""
    fact = rows.iloc[0]
    subject, true, new = (style.shorten(fact[name], 60) for name in ("subject", "target_true", "target_new"))
    edit = [(f"{subject}:", "bold"), (" ", "plain"), (true, "true"), (" → ", "plain"), (new, "new")]
    rewrite = [(style.printable(fact["rewrite_prompt"]).strip(), "prompt"), (" → ", "plain"), (new, "new")]
    entries = [("Edit", edit), ("Rewrite prompt", rewrite)]
    for method, prompt, text in zip(rows["method"], rows["prompt"], rows["text"]):
        begin = len(prompt) if text.startswith(prompt) else 0
        words = {fact["target_true"]: "true", fact["target_new"]: "new"}
        pieces = [(style.printable(text[:begin]), "prompt"), *prose.mark(style.printable(text[begin:]), words)]
        entries.append(("Unedited" if method == "none" else style.method_label(method, ""), pieces))
    return entries
