"""The reverse question: single edits asked as edited, paraphrased, and in the other order of subject and relation.

After an edit of "{} was born in", the question "The birthplace of {} is" has the relation first; after one of "The
capital of {} is", "{}'s capital is" has the subject first. Success: share of prompts where the new object is the
likelier one; magnitude: by how much. In parentheses: records that have such a question. Lines are 95% confidence
intervals over records. PAPER: beyond the papers, the reverse question.
"""

import pandas as pd

from engram.drawing import curves, style
from engram.evaluation import metrics
from engram.job import arguments, io
from engram.settings.fact_groups import FactGroup

ITEM = "beyond/reverse"
KEYS = ["model", "dataset", "method", "n"]
SHOWN = {"success": "Success", "magnitude": "Magnitude"}
KINDS = {  # what is asked -> success, magnitude; label, marker, filled
    "rewrite": ("ES", "EM", "as edited", "o", True),
    "paraphrase": ("PS", "PM", "paraphrased", "s", False),
    "relation first": ("VS", "VM", "reverse, relation first", ">", True),
    "subject first": ("VS", "VM", "reverse, subject first", "<", False),
}


def table(facts: pd.DataFrame, records: list[pd.DataFrame]) -> pd.DataFrame:
    """A row per editor, kind of question (KINDS; `reverse`: both orders) and metric (SHOWN): value and ci times 100,
    count of records. ValueError for facts that were not edited alone, or if none has a reverse question.
    """
    first = facts.set_index("case_id")["prompt"].str.startswith("{}")
    parts = []
    for frame in records:
        keys = frame[KEYS].iloc[0].to_dict()
        if not FactGroup.parse(keys["n"]).alone or "VS" not in frame or frame["VS"].isna().all():
            raise ValueError(
                f"{ITEM}: {keys['method']}, n {keys['n']}: right is 1, each fact alone, with reverse questions"
            )
        begins = frame["case_id"].map(first).astype(bool)
        asked = {
            "rewrite": frame,
            "paraphrase": frame,
            "reverse": frame,
            "relation first": frame[begins],
            "subject first": frame[~begins],
        }
        for kind, rows in asked.items():
            for metric, name in zip(SHOWN, KINDS.get(kind, ("VS", "VM"))):
                values = rows[name].dropna()
                if len(values):
                    mean, ci, count = metrics.mean_ci(values)
                    parts.append(
                        keys | {"kind": kind, "metric": metric, "value": 100 * mean, "ci": 100 * ci, "count": count}
                    )
    frame = pd.DataFrame(parts)
    rank = frame["method"].map(style.method_order(frame["method"]).index)
    return frame.assign(rank=rank).sort_values("rank", kind="stable", ignore_index=True).drop(columns="rank")


def draw(frame: pd.DataFrame):
    """A panel per metric, a row per editor, a mark per kind of question."""
    methods = list(frame["method"].unique())
    looks = style.method_looks(set(methods) - {curves.UNEDITED}) | {curves.UNEDITED: ("0.35", "-", None)}
    fig = style.figure(style.DOUBLE, 0.9 + 0.3 * len(methods))
    kinds = [kind for kind in KINDS if (frame["kind"] == kind).any()]
    for ax, (metric, title) in zip(fig.subplots(1, 2, sharey=True), SHOWN.items()):
        for at, kind in enumerate(kinds):
            rows = frame[(frame["metric"] == metric) & (frame["kind"] == kind)]
            *_, marker, filled = KINDS[kind]
            for row in rows.itertuples():
                color = looks[row.method][0]
                ax.errorbar(
                    [row.value],
                    [methods.index(row.method) + 0.19 * (at - (len(kinds) - 1) / 2)],
                    xerr=[row.ci],
                    color=color,
                    marker=marker,
                    markersize=3.6,
                    capsize=1.5,
                    elinewidth=0.8,
                    linestyle="none",
                    markerfacecolor=color if filled else "white",
                )
        ax.set(title=title, ylim=(len(methods) - 0.45, -0.55), xlim=(-4 if metric == "success" else -104, 104))
        ax.grid(True, axis="x", linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    fig.axes[0].set_yticks(
        range(len(methods)), [style.method_label(method, "").removesuffix(" ()") for method in methods]
    )
    counts = frame.groupby("kind")["count"].max()
    for kind in kinds:
        *_, label, marker, filled = KINDS[kind]
        fig.axes[0].plot(
            [],
            [],
            color="0.35",
            marker=marker,
            markersize=3.6,
            linestyle="none",
            markerfacecolor="0.35" if filled else "white",
            label=f"{label} ({counts[kind]:,})",
        )
    fig.supxlabel(f"mean over records x 100, {style.shorten(frame['model'].iloc[0], 30)}", fontsize=style.SIZE)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, handletextpad=0.3)
    return style.finish(fig)


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["facts*", "records*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    facts = pd.concat(map(io.read_table, job.inputs.facts), ignore_index=True)
    frame = table(facts, [io.read_table(path) for path in job.inputs.records])
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
