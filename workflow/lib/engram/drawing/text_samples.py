"""Texts that a model writes before and after an edit, case by case: from tables `facts` and `texts` (ROME Fig. 6, 19,
25).
"""

from collections.abc import Iterable

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import prose, style
from engram.evaluation.derivation import KEY, Derivation, Job, Number, Rows, Tables
from engram.settings.blocks import build
from engram.settings.items import ShownTexts as Settings

FACT = Rows("facts", by=("case_id",))
TEXT = Rows("texts", by=("method", "case_id", "prompt_index"))


def _statement(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """The prompt of every record with its subject."""
    table = table.set_index(by)
    return pd.Series([row.prompt.replace("{}", row.subject) for row in table.itertuples()], table.index)


COLUMNS: dict[str, Number] = {
    "model": KEY,
    "case_id": KEY,
    "relation_id": FACT.cell("relation_id"),
    "subject": FACT.cell("subject"),
    "rewrite_prompt": FACT.apply(_statement, "prompt with its subject", "prompt", "subject"),
    "target_true": FACT.cell("target_true"),
    "target_new": FACT.cell("target_new"),
    "method": KEY,
    "prompt_index": KEY,
    "prompt": TEXT.cell("prompt"),
    "text": TEXT.cell("text"),
}


def choose(
    facts: pd.DataFrame, available: Iterable[int], settings: Settings, model: str, where: str = "samples"
) -> list[int]:
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


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """One row per chosen case and method, of the lowest prompt_index. ValueError on doubled texts."""
    texts, keys = tables["texts"], list(TEXT.by)
    where = f"paper: {job.script.parent.name}/{job.script.stem}"
    if texts.duplicated(keys).any():
        raise ValueError(f"texts: {texts[texts.duplicated(keys)][keys].head(3).values.tolist()} occur twice")
    available = set.intersection(*texts.groupby("method")["case_id"].agg(set))
    settings = build(Settings, job.config["paper"], where)
    methods = style.method_order(texts["method"])
    return pd.DataFrame(
        [
            {"model": job.keys.model, "case_id": case, "method": method, "prompt_index": index}
            for case in choose(tables["facts"], available, settings, job.keys.model, where)
            for index in [int(texts.loc[texts["case_id"] == case, "prompt_index"].min())]
            for method in methods
        ]
    )


DERIVATION = Derivation(COLUMNS, rows)


def draw(frame: pd.DataFrame, most: int) -> Figure:
    """Blocks of wrapped text at double-column width, one per case of the numbers; a text has at most `most`
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
