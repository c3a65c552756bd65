"""Average indirect effects over many traced prompts (ROME Sec. 2.2, Fig. 2 and 7), from the tables of stage `trace`.

effects: model, variant, prompt_id, site, token, layer, score (p(answer) with one restoration, mean over noise samples).
prompts: model, variant, prompt_id, tokens, subject_begin, subject_end (exclusive), clean, corrupted (p(answer)).
"""

import numpy as np
import pandas as pd

CATEGORIES = (
    "First subject token",
    "Middle subject tokens",
    "Last subject token",
    "First subsequent token",
    "Further tokens",
    "Last token",
)


def positions(begin: int, end: int, length: int) -> dict[str, range]:
    """The tokens of each category in a prompt of `length` tokens whose subject is [begin, end).

    PAPER: as in the code of ROME's figures, a token may belong to several categories: a subject of one token is first
    and last, one token after the subject is the first subsequent and the last. ValueError if none follows the subject.
    """
    if not 0 <= begin < end < length:
        raise ValueError(f"subject [{begin}, {end}) of a prompt of {length} tokens: it must be followed by a token")
    return dict(
        zip(
            CATEGORIES,
            (
                range(begin, begin + 1),
                range(begin + 1, end - 1),
                range(end - 1, end),
                range(end, end + 1),
                range(end + 1, length - 1),
                range(length - 1, length),
            ),
        )
    )


def _membership(prompts: pd.DataFrame) -> pd.DataFrame:
    """One row per prompt, token and category of the token."""
    rows = [
        (row.prompt_id, token, category)
        for row in prompts.itertuples()
        for category, tokens in positions(row.subject_begin, row.subject_end, len(row.tokens)).items()
        for token in tokens
    ]
    return pd.DataFrame(rows, columns=["prompt_id", "token", "category"])


def _scores(effects: pd.DataFrame, prompts: pd.DataFrame, site: str) -> pd.DataFrame:
    """The rows of `site`; ValueError if it is absent or the tables (of one variant) do not hold the same prompts."""
    chosen = effects[effects["site"] == site]
    if chosen.empty:
        raise ValueError(f"site {site!r} is not in the effects; there are {sorted(effects['site'].unique())}")
    missing = set(chosen["prompt_id"]) ^ set(prompts["prompt_id"])
    if missing or prompts["prompt_id"].duplicated().any():
        raise ValueError(
            f"site {site!r}: effects and prompts must hold the same prompts once each; in one of them "
            f"only: {sorted(missing)[:5]}"
        )
    return chosen


def average_effects(effects: pd.DataFrame, prompts: pd.DataFrame, site: str) -> pd.DataFrame:
    """Per category (in the order of CATEGORIES) and layer: mean_score, indirect_effect, std, count, ci.

    indirect_effect = mean score of the category - mean corrupted probability over all prompts; middle and further
    tokens of all prompts are pooled, not averaged per prompt. std is the population's, of the raw scores;
    ci = 1.96 std / sqrt(count). A category that no prompt has (or none that was traced) has no rows.
    DIFFERS: count is the real number of pooled scores; the original notebook divided by that of another loop.
    """
    chosen = _scores(effects, prompts, site).merge(_membership(prompts), on=["prompt_id", "token"])
    groups = chosen.groupby(["category", "layer"])["score"]
    table = groups.agg(mean_score="mean", std=lambda scores: scores.std(ddof=0), count="size").reset_index()
    table["indirect_effect"] = table["mean_score"] - prompts["corrupted"].mean()
    table["ci"] = 1.96 * table["std"] / np.sqrt(table["count"])
    order = table["category"].map(CATEGORIES.index)
    table = table.assign(order=order).sort_values(["order", "layer"], ignore_index=True)
    return table[["category", "layer", "mean_score", "indirect_effect", "std", "count", "ci"]]


def by_layer(effects: pd.DataFrame, prompts: pd.DataFrame, sites: tuple, model: str) -> pd.DataFrame:
    """`average_effects` of each site in each variant, with the columns model, variant, prompts (their number), site."""
    parts = [
        average_effects(effects[effects["variant"] == variant], traced, site).assign(
            model=model, variant=variant, prompts=len(traced), site=site
        )
        for variant, traced in prompts.groupby("variant", sort=False)
        for site in sites
    ]
    return pd.concat(parts, ignore_index=True)[
        [
            "model",
            "variant",
            "prompts",
            "site",
            "category",
            "layer",
            "mean_score",
            "indirect_effect",
            "std",
            "count",
            "ci",
        ]
    ]


def summary(effects: pd.DataFrame, prompts: pd.DataFrame, site: str) -> pd.DataFrame:
    """The scalars that the paper quotes for one site: name, value, layer (of a peak, else missing).

    prompts, clean, corrupted, average_total_effect = clean - corrupted; peak: <category> = the largest average indirect
    effect of the category; best score: mean over prompts of the largest score at any token, at the last subject token,
    at the last token.
    """
    rows = [
        ("prompts", len(prompts), None),
        ("clean", prompts["clean"].mean(), None),
        ("corrupted", prompts["corrupted"].mean(), None),
        ("average_total_effect", prompts["clean"].mean() - prompts["corrupted"].mean(), None),
    ]
    for category, table in average_effects(effects, prompts, site).groupby("category", sort=False):
        best = table.loc[table["indirect_effect"].idxmax()]
        rows.append((f"peak: {category}", best["indirect_effect"], best["layer"]))
    chosen = _scores(effects, prompts, site).merge(_membership(prompts), on=["prompt_id", "token"])
    for name, wanted in (("any token", CATEGORIES), (CATEGORIES[2], CATEGORIES[2:3]), (CATEGORIES[5], CATEGORIES[5:])):
        part = chosen[chosen["category"].isin(wanted)]
        if not part.empty:
            rows.append((f"best score: {name}", part.groupby("prompt_id")["score"].max().mean(), None))
    return pd.DataFrame(rows, columns=["name", "value", "layer"]).astype({"value": "float64", "layer": "Int64"})
