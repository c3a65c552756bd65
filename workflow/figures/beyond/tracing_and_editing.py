"""Does tracing say where to edit? What restoring states of the last subject token gives back, and how well ROME edits,
by layer.

Left: average indirect effects (as in ROME Fig. 7) at the last subject token. Middle: scores of ROME at each layer (as
in ROME Fig. 5, key at that token). Right: one against the other; a number is a layer, r the correlation over the
layers. Bands: 95% confidence intervals. PAPER: beyond the papers.
"""

from collections.abc import Callable

import pandas as pd

from engram.drawing import curves, items, trace_tables
from engram.drawing.layer_comparison import AGAINST, METRICS, draw
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Rows, Tables
from engram.evaluation.indirect_effects import CELLS, EFFECT, categorised, cells

ITEM = "beyond/tracing_and_editing"
SITE_OF = {f"effect of {site}": site for site in trace_tables.SITES}
RESULT = Rows("summaries", by=("method", "metric"))
POINTS = Rows("points", by=("metric",), of_input="summaries")  # the edited layers
AT_SUBJECT = Rows("effects").only(site=AGAINST, category="Last subject token")


def at_layers(points: pd.DataFrame, effects: pd.DataFrame, traced: pd.DataFrame) -> pd.DataFrame:
    """The scores at the edited layers, each with the `effect` of AGAINST there."""
    effect = effects.groupby("layer")["score"].mean() - traced["corrupted"].mean()
    return points.assign(effect=points["layer"].map(effect)).dropna(subset=["effect", "value"])


def _over_layers(number: Callable[[pd.DataFrame], float], name: str) -> Number:
    """A number of the pairs of a metric and the effect of AGAINST at the edited layers."""

    def over_layers(points: pd.DataFrame, by: list[str], effects: pd.DataFrame, traced: pd.DataFrame) -> pd.Series:
        return at_layers(points, effects, traced).groupby(by)[["effect", "value"]].apply(number)

    return POINTS.apply(over_layers, name, "layer", "value", also=(AT_SUBJECT, Rows("traced")))


CORRELATION = _over_layers(
    lambda pairs: pairs.corr().iloc[0, 1], f"correlation over layers with the effect of {AGAINST}"
)
PAIRS = _over_layers(len, "number of layers")


def _numbers(effect: Number, result: Number, correlation: Number | None) -> Number:
    correlations = {f"correlation of {metric}": correlation for metric in METRICS} if correlation else {}
    return Choice("quantity", dict.fromkeys(SITE_OF, effect) | dict.fromkeys(METRICS, result) | correlations)


COLUMNS = {
    **dict.fromkeys(("model", "quantity", "layer"), KEY),
    "value": _numbers(EFFECT, RESULT.cell("value"), CORRELATION),
    "ci": _numbers(CELLS.half_width("score"), RESULT.cell("ci"), None),
    "count": _numbers(CELLS.count(), RESULT.cell("count"), PAIRS),
}


def prepare(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
    """The effects with the categories of their tokens; the summaries of the points of the sweep with their layer."""
    points = job.config.get("points", {})
    other = sorted({str(point.get("token")) for point in points.values()} - {"subject_last"})
    if other:
        raise ValueError(
            f"{ITEM}: a sweep over token {', '.join(other)}; right is `token: [subject_last]`, where states are "
            "restored"
        )
    summaries = tables["summaries"]
    edited = summaries[summaries["metric"].isin(METRICS) & (summaries["method"] != curves.UNEDITED)]
    edited = edited.assign(layer=edited["method"].map({method: point["layer"] for method, point in points.items()}))
    return {**categorised(tables, trace_tables.SITES, most=1), "points": edited}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """quantity: `effect of <site>` at each layer; a metric of ROME at each edited layer; `correlation of <metric>` with
    the effect of AGAINST: none where fewer than three layers, or a constant, leave it without meaning.
    """
    points = job.config.get("points", {})
    checked = curves.with_points(curves.rows(tables, list(METRICS), ["method"], ITEM), points, ["layer", "token"], ITEM)
    effects = cells(tables["effects"], trace_tables.SITES)
    effects = effects[effects["category"] == "Last subject token"]
    edits = checked[checked["layer"].notna()].sort_values("layer", kind="stable")
    frame = pd.concat([effects.assign(quantity="effect of " + effects["site"]), edits.assign(quantity=edits["metric"])])
    pairs = at_layers(tables["points"], AT_SUBJECT.of(tables), tables["traced"]).groupby("metric")[["effect", "value"]]
    correlated = [metric for metric, both in pairs if len(both) > 2 and (both.max() > both.min()).all()]
    more = [{"quantity": f"correlation of {metric}", "metric": metric} for metric in METRICS if metric in correlated]
    frame = pd.concat([frame, pd.DataFrame(more)], ignore_index=True)
    return frame.assign(model=job.keys.model).astype({"layer": "Int64"})


DERIVATION = Derivation(COLUMNS, rows, prepare)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*", "summaries*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
