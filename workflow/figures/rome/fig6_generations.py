"""What the model writes about a subject before and after one edit.

Cases are the first record (by case_id) of each relation, relations in the order of their first record; texts are those
of the record's first generation prompt. Italics: the prompt; orange: the new object; blue: the true one.
PAPER: ROME Fig. 6.
"""

import csv
from dataclasses import dataclass

import pandas as pd

from engram import cli, config, io, style

LABEL, MARGIN, GAP, STEP = 0.95, 0.08, 0.12, 0.04  # inches: label column, edges, around the rules, between entries
MOST_LINES = 8  # of one text, before an ellipsis
COLUMNS = ["model", "case_id", "relation_id", "subject", "rewrite_prompt", "target_true", "target_new", "method",
           "prompt_index", "prompt", "text"]


@dataclass(frozen=True)
class Settings:
    """`paper: rome/fig6_generations` of params.yaml."""

    cases: int = 3


def choose(facts: pd.DataFrame, available, cases: int) -> list[int]:
    """`cases` ids among `available`: one per relation first, then the lowest left. ValueError if too few."""
    pool = facts[facts["case_id"].isin(set(available))].sort_values("case_id")
    if len(pool) < cases:
        raise ValueError(f"rome/fig6_generations: {cases} cases wanted, {len(pool)} have texts of every method")
    first = pool.drop_duplicates("relation_id")
    rest = pool[~pool["case_id"].isin(first["case_id"])]
    return [int(case) for case in pd.concat([first, rest])["case_id"].head(cases)]


def table(facts: pd.DataFrame, texts: pd.DataFrame, model: str, cases: int) -> pd.DataFrame:
    """One row per chosen case and method: edit, text of the lowest prompt_index. ValueError on doubled texts."""
    keys = ["method", "case_id", "prompt_index"]
    if texts.duplicated(keys).any():
        raise ValueError(f"texts: {texts[texts.duplicated(keys)][keys].head(3).values.tolist()} occur twice")
    by_method = texts.groupby("method")["case_id"].agg(set)
    chosen = choose(facts, set.intersection(*by_method), cases)
    rows = []
    for case in chosen:
        fact = facts[facts["case_id"] == case].iloc[0]
        index = texts.loc[texts["case_id"] == case, "prompt_index"].min()
        here = texts[(texts["case_id"] == case) & (texts["prompt_index"] == index)].set_index("method")
        for method in style.method_order(texts["method"]):
            rows.append({**fact[["relation_id", "subject", "target_true", "target_new"]], "model": model,
                         "case_id": case, "rewrite_prompt": fact["prompt"].replace("{}", fact["subject"]),
                         "method": method, "prompt_index": int(index), **here.loc[method, ["prompt", "text"]]})
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(frame: pd.DataFrame):
    """Blocks of wrapped text at double-column width, one per case of `table`'s frame."""
    blocks = [_block(rows) for _, rows in frame.groupby("case_id", sort=False)]
    leading = style.SIZE * 1.35 / 72
    lines = sum(len(entry) for block in blocks for _, entry in block)
    height = lines * leading + sum(len(block) for block in blocks) * STEP + (len(blocks) - 1) * 2 * GAP
    fig = style.figure(style.DOUBLE, height + 2 * MARGIN)
    top = MARGIN - 0.02
    for index, block in enumerate(blocks):
        if index:
            y = 1 - (top + GAP) / fig.get_figheight()
            fig.add_artist(_rule(fig, y))
            top += 2 * GAP
        for label, entry in block:
            style.write_lines(fig, [[(0.0, label, "bold")]], MARGIN, top)
            top = style.write_lines(fig, entry, MARGIN + LABEL, top) + STEP
    return style.finish(fig)


def _rule(fig, y: float):
    from matplotlib.lines import Line2D

    edge = MARGIN / fig.get_figwidth()
    return Line2D([edge, 1 - edge], [y, y], color="0.7", linewidth=0.5, transform=fig.transFigure)


def _block(rows: pd.DataFrame) -> list[tuple[str, list]]:
    """(label, lines) of one case: the edit, the rewrite prompt, and each method's text."""
    fact, limit = rows.iloc[0], (style.DOUBLE - 2 * MARGIN - LABEL) * 72
    subject, true, new = (style.shorten(fact[name], 60) for name in ("subject", "target_true", "target_new"))
    edit = [(f"{subject}:", "bold"), (" ", "plain"), (true, "true"), (" → ", "plain"), (new, "new")]
    rewrite = [(style.printable(fact["rewrite_prompt"]).strip(), "prompt"), (" → ", "plain"), (new, "new")]
    entries = [("Edit", edit), ("Rewrite prompt", rewrite)]
    for method, prompt, text in zip(rows["method"], rows["prompt"], rows["text"]):
        begin = len(prompt) if text.startswith(prompt) else 0
        words = {fact["target_true"]: "true", fact["target_new"]: "new"}
        pieces = [(style.printable(text[:begin]), "prompt"), *style.mark(style.printable(text[begin:]), words)]
        label = "Unedited" if method == "none" else style.method_label(method, "")
        entries.append((label, pieces))
    return [(label, style.flow(pieces, limit, MOST_LINES)) for label, pieces in entries]


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["facts", "texts*"], outputs=["pdf", "png", "csv"], keys=["model"])
    settings = config.build(Settings, job.config["paper"], "paper: rome/fig6_generations")
    texts = pd.concat([io.read_table(path) for path in job.inputs.texts], ignore_index=True)
    frame = table(io.read_table(job.inputs.facts), texts, job.keys.model, settings.cases)
    fig = draw(frame)
    job.write("pdf", fig)
    job.write("png", fig)
    # Every field quoted: a lone carriage return inside a text would otherwise end the row for some readers.
    job.write("csv", frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL).encode())


if __name__ == "__main__":
    main()
