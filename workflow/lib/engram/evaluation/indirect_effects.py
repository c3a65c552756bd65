"""Average indirect effects over many traced prompts (ROME Sec. 2.2, Fig. 2 and 7), from the tables of stage `trace`.

effects: model, variant, prompt_id, site, token, layer, score (p(answer) with one restoration, mean over noise samples).
prompts: model, variant, prompt_id, tokens, subject_begin, subject_end (exclusive), clean, corrupted (p(answer)).
"""

from collections.abc import Iterable

import pandas as pd

from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Rows, Tables

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


def with_categories(effects: pd.DataFrame, prompts: pd.DataFrame, sites: Iterable[str]) -> pd.DataFrame:
    """The rows of `effects` of these sites with the column `category` of their token: a row for each category that a
    token is of, none for tokens before the subject. ValueError if the tables do not hold the same prompts once each.
    """
    chosen = effects[effects["site"].isin(list(sites))]
    traced = pd.MultiIndex.from_frame(prompts[["variant", "prompt_id"]])
    for site, rows in chosen.groupby("site"):
        missing = pd.MultiIndex.from_frame(rows[["variant", "prompt_id"]]).unique().symmetric_difference(traced)
        if len(missing) or traced.has_duplicates:
            raise ValueError(
                f"site {site!r}: effects and prompts must hold the same prompts once each; in one of them "
                f"only: {missing.get_level_values('prompt_id')[:5].tolist()}"
            )
    members = pd.DataFrame(
        [
            (row.variant, row.prompt_id, token, category)
            for row in prompts.itertuples()
            for category, tokens in positions(row.subject_begin, row.subject_end, len(row.tokens)).items()
            for token in tokens
        ],
        columns=["variant", "prompt_id", "token", "category"],
    )
    return chosen.merge(members, on=["variant", "prompt_id", "token"])


def check(tables: Tables, sites: Iterable[str], most: int | None = None) -> None:
    """ValueError if there are traces of more than `most` variants, or one of them was traced without one of `sites`."""
    names = list(tables["traced"]["variant"].unique())
    if most is not None and len(names) > most:
        raise ValueError(
            f"variants {names} of trace: this item shows {most}; name so many under `variants` of its line"
        )
    for variant, rows in tables["effects"].groupby("variant", sort=False):
        missing = sorted(set(sites) - set(rows["site"]))
        if missing:
            raise ValueError(
                f"variant {variant} of trace: sites {missing} were not traced, there are "
                f"{sorted(rows['site'].unique())}; add them to its `sites` or show another variant"
            )


CELLS = Rows("effects", by=("variant", "site", "category", "layer"))
SITE = Rows("effects", by=("variant", "site"))
PROMPTS = Rows("traced", by=("variant",))
MEAN_SCORE = CELLS.mean("score", grouped=True)  # grouped: the bytes of earlier figures
EFFECT = MEAN_SCORE - PROMPTS.mean("corrupted")  # the average indirect effect
# DIFFERS: the count is the real number of pooled scores; the original notebook divided by that of another loop.
AVERAGES: dict[str, Number] = {
    "model": KEY,
    "variant": KEY,
    "prompts": PROMPTS.count(),
    "site": KEY,
    "category": KEY,
    "layer": KEY,
    "mean_score": MEAN_SCORE,
    "indirect_effect": EFFECT,
    "std": CELLS.deviation("score"),
    "count": CELLS.count(),
    "ci": CELLS.half_width("score"),
}


def cells(effects: pd.DataFrame, sites: Iterable[str]) -> pd.DataFrame:
    """The keys model, variant, site, category and layer that occur in `with_categories`' table: variants as they come,
    the others in the order of `sites` and CATEGORIES.
    """
    keys = effects[["model", *CELLS.by]].drop_duplicates()
    ranks = {"variant": list(keys["variant"].unique()), "site": list(sites), "category": list(CATEGORIES)}
    order = keys.assign(**{name: keys[name].map(ranks[name].index) for name in ranks})
    return keys.loc[order.sort_values(list(CELLS.by)).index].reset_index(drop=True)


def averages(sites: tuple[str, ...], categories: tuple[str, ...] = CATEGORIES, most: int | None = None) -> Derivation:
    """Average indirect effects by variant (at most so many), site, category of token and layer, from the tables
    `effects` and `traced`.

    indirect_effect = mean score of the category - mean corrupted probability over all prompts; middle and further
    tokens of all prompts are pooled, not averaged per prompt. std is the population's, of the raw scores; ci is half
    of the 95% interval. A category that no prompt has (or none that was traced) has no rows.
    """

    def rows(tables: Tables, job: Job) -> pd.DataFrame:
        keys = cells(tables["effects"], sites)
        return keys[keys["category"].isin(categories)]

    return Derivation(AVERAGES, rows, lambda tables, job: categorised(tables, sites, most))


def categorised(tables: Tables, sites: Iterable[str], most: int | None = None) -> dict[str, pd.DataFrame]:
    """The table `effects` with the categories of its tokens, in the place of the input. ValueError: see `check`."""
    check(tables, sites, most)
    return {"effects": with_categories(tables["effects"], tables["traced"], sites)}


def _by_layer(part: pd.DataFrame) -> pd.Series:
    return part.groupby("layer")["score"].mean()


def peak(category: str) -> Number:
    """The largest average indirect effect of a category at any layer, of one variant and site."""
    largest = SITE.only(category=category).each(
        lambda part: _by_layer(part).max(), "largest mean over a layer", "score", "layer"
    )
    return largest - PROMPTS.mean("corrupted")


def peak_layer(category: str) -> Number:
    """The layer of `peak`."""
    return SITE.only(category=category).each(
        lambda part: _by_layer(part).idxmax(), "layer of the largest mean", "score", "layer"
    )


def best_score(category: str | None = None) -> Number:
    """The mean over prompts of the largest score at any layer and token (of a category), of one variant and site."""
    return (SITE.only(category=category) if category else SITE).each(
        lambda part: part.groupby("prompt_id")["score"].max().mean(),
        "mean over prompts of the largest",
        "score",
        "prompt_id",
    )


BEST_SCORES = {
    "any token": best_score(),
    "Last subject token": best_score("Last subject token"),
    "Last token": best_score("Last token"),
}
# The scalars that the paper quotes of a variant and site; those of a kind of token exist where a prompt has one.
SCALARS: dict[str, Number] = {
    "prompts": PROMPTS.count(),
    "clean": PROMPTS.mean("clean"),
    "corrupted": PROMPTS.mean("corrupted"),
    "average_total_effect": PROMPTS.mean("clean") - PROMPTS.mean("corrupted"),
    **{f"peak: {category}": peak(category) for category in CATEGORIES},
    **{f"best score: {where}": number for where, number in BEST_SCORES.items()},
}
PEAK_LAYER = Choice("quantity", {f"peak: {category}": peak_layer(category) for category in CATEGORIES})


def scalars(effects: pd.DataFrame, sites: Iterable[str]) -> pd.DataFrame:
    """The keys model, variant, site and quantity (of SCALARS) that `with_categories`' table has numbers for."""
    first = effects.iloc[0]
    rows = [
        {"model": first["model"], "variant": first["variant"], "site": site, "quantity": name}
        for site in sites
        for present in [set(effects.loc[effects["site"] == site, "category"])]
        for name in SCALARS
        if (token := name.rpartition(": ")[2]) not in CATEGORIES or token in present
    ]
    return pd.DataFrame(rows)
