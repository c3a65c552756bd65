"""One record of a dataset, shown whole (ROME Fig. 21, 22)."""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import prose, style
from engram.evaluation.derivation import KEY, Derivation, Job, Number, Rows, Tables
from engram.settings.blocks import build
from engram.settings.items import ShownRecord as Settings

Groups = tuple[tuple[str, ...], ...]  # columns of a record that belong together in the figure

NAMES = {  # column -> its label in a figure, and how its text is set
    "subject": ("Subject", "bold"),
    "prompt": ("Prompt", "prompt"),
    "target_true": ("True object", "true"),
    "target_new": ("New object", "new"),
    "paraphrase_prompts": ("Paraphrases", "plain"),
    "neighborhood_prompts": ("Neighbourhood", "plain"),
    "attribute_prompts": ("Attribute", "plain"),
    "generation_prompts": ("Generation", "plain"),
    "rephrase": ("Rephrased", "plain"),
    "loc": ("Neighbour", "plain"),
    "loc_target": ("Its answer", "true"),
}
QUESTIONS = {"target_true": ("Answer before", "true")}  # of a record whose prompts are questions, as in zsRE
MOST = 3  # lines of one text, before an ellipsis


def derivation(table: str, groups: Groups) -> Derivation:
    """model, case_id, column, index, text of one record of an input: its columns (relation_id first, if it has one), of
    a list each entry. ValueError for a record that is absent.
    """
    text = Rows("entries", by=("column", "index"), of_input=table)
    columns: dict[str, Number] = {
        **dict.fromkeys(("model", "case_id", "column", "index"), KEY),
        "text": text.cell("text"),
    }

    def prepare(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
        records = tables[table]
        record = records[records["case_id"] == _case(records, job)]
        names = ["relation_id"] * ("relation_id" in records) + [name for group in groups for name in group]
        return {"entries": pd.concat([_entries_of(record, name) for name in names], ignore_index=True)}

    def rows(tables: Tables, job: Job) -> pd.DataFrame:
        return tables["entries"][["case_id", "column", "index"]].assign(model=job.keys.model)

    return Derivation(columns, rows, prepare)


def _case(records: pd.DataFrame, job: Job) -> int:
    """The case_id that the item's options name for the model, else the first."""
    where = f"paper: {job.script.parent.name}/{job.script.stem}"
    settings = build(Settings, job.config["paper"], where)
    case = settings.case_ids[job.keys.model][0] if job.keys.model in settings.case_ids else records["case_id"].iloc[0]
    if (records["case_id"] == case).sum() != 1:
        raise ValueError(
            f"{where}: {(records['case_id'] == case).sum()} records have the case_id {case}; right is one of "
            f"{len(records)}, the first are {records['case_id'].head(5).tolist()}"
        )
    return int(case)


def _entries_of(record: pd.DataFrame, column: str) -> pd.DataFrame:
    """The record once for every text of a column."""
    entries = record.assign(text=record[column], column=column).explode("text", ignore_index=True)
    return entries.assign(index=range(len(entries))).dropna(subset="text")


def draw(frame: pd.DataFrame, groups: Groups) -> Figure:
    """A block of text per group of columns of one record, the first under a line that says which record it is."""
    relation = "".join(f", relation {text}" for text in frame.loc[frame["column"] == "relation_id", "text"])
    record = ("Record", [(f"{frame['case_id'].iloc[0]}{style.printable(relation)}", "plain")])
    subject = dict.fromkeys(frame.loc[frame["column"] == "subject", "text"], "bold")
    blocks = [[entry for column in columns for entry in _entries(frame, column, subject)] for columns in groups]
    return prose.page([[record, *blocks[0]], *blocks[1:]], MOST)


def _entries(frame: pd.DataFrame, column: str, subject: dict) -> list[tuple[str, list]]:
    """(label, pieces) of a column; of a list, one for each of its texts, the first with the label."""
    name, kind = (NAMES | QUESTIONS if "loc" in set(frame["column"]) else NAMES)[column]
    texts = [style.printable(text).strip() for text in frame.loc[frame["column"] == column, "text"]]
    pieces = [prose.mark(text, subject) if kind == "plain" else [(text, kind)] for text in texts]
    return list(zip([name, *[""] * len(texts)], pieces))
