"""One record of a dataset, shown whole (ROME Fig. 21, 22)."""

from dataclasses import dataclass, field

import pandas as pd

from engram.drawing import prose, style, text_samples
from engram.job import io
from engram.settings import config

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


@dataclass(frozen=True)
class Settings:
    """`options` of an item that shows a record."""

    case_ids: dict = field(default_factory=dict)  # by model: the case_id, in a list of one


def item(job, path, groups: tuple, draw) -> None:
    """A figure of one record of the table at `path`: `draw(frame)` of `table`'s frame."""
    where = f"paper: rome/{job.script.stem}"
    settings = config.build(Settings, job.config["paper"], where)
    frame = table(io.read_table(path), job.keys.model, groups, settings, where)
    fig = draw(frame)
    job.write("pdf", fig)
    job.write("png", fig)
    job.write("csv", text_samples.quoted(frame))


def table(rows: pd.DataFrame, model: str, groups: tuple, settings: Settings, where: str = "specimens") -> pd.DataFrame:
    """model, case_id, column, index, text: the record's columns, lists entry by entry. ValueError for a record that is
    absent.
    """
    case = settings.case_ids[model][0] if model in settings.case_ids else rows["case_id"].iloc[0]
    found = rows[rows["case_id"] == case]
    if len(found) != 1:
        raise ValueError(
            f"{where}: {len(found)} records have the case_id {case}; right is one of {len(rows)}, the first are "
            f"{rows['case_id'].head(5).tolist()}"
        )
    columns = ["relation_id"] * ("relation_id" in rows) + [column for columns in groups for column in columns]
    values = {column: found[column].iloc[0] for column in columns}
    return pd.DataFrame(
        [
            {"model": model, "case_id": int(case), "column": column, "index": index, "text": text}
            for column, value in values.items()
            for index, text in enumerate([value] if isinstance(value, str) else value)
        ]
    )


def draw(frame: pd.DataFrame, groups: tuple):
    """A block of text per group of columns of `table`'s frame, the first under a line that says which record it is."""
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
