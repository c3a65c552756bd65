"""The tables of stage `trace` for a figure: checked, and the prompts that are shown one at a time.

effects: model, variant, prompt_id, site, token, layer, score; traced: model, variant, prompt_id, prompt, subject,
answer, tokens, subject_begin, subject_end (exclusive), clean, corrupted (engram.evaluation.indirect_effects says what
the columns hold).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from engram.evaluation.derivation import KEY, Derivation, Job, Number, Rows, Tables
from engram.evaluation.indirect_effects import check
from engram.settings.blocks import build
from engram.tracing import selection

SITES = ("hidden", "mlp", "attn")
SEVERED = ("hidden", "no_attn", "no_mlp")  # one state restored; as it is, with attention severed, with the MLPs severed
CELL = Rows("effects", by=("variant", "prompt_id", "site", "token", "layer"))
PROMPT = Rows("traced", by=("variant", "prompt_id"))


def about_cells(prompts: str = "traced") -> dict[str, Number]:
    """What a row of a figure of single prompts says about its cell (variant, prompt, site, token, layer), besides the
    score; `prompts`: the input that holds the prompts.
    """
    prompt = replace(PROMPT, of_input=prompts)
    token = Rows("tokens", by=("variant", "prompt_id", "token"), of_input=prompts)
    return {
        **dict.fromkeys(("model", "variant", "prompt_id"), KEY),
        **{name: prompt.cell(name) for name in ("prompt", "subject", "answer", "clean", "corrupted")},
        **dict.fromkeys(("site", "token"), KEY),
        **{name: token.cell(name) for name in ("text", "in_subject", "extra")},  # extra: corrupted, but no subject
        "layer": KEY,
    }


CELLS: dict[str, Number] = {**about_cells(), "score": CELL.cell("score")}


def with_tokens(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
    """The table `tokens`: a row per token of every prompt of `traced`, with its text, whether it is of the subject, and
    whether it is `extra`: one of the tokens after the subject that the variant corrupts, too.
    """
    traced = tables["traced"]
    long = traced.assign(token=[range(len(tokens)) for tokens in traced["tokens"]]).explode("token")
    long = long.astype({"token": "int64"})
    extra = long["variant"].map({name: about["extra_tokens"] for name, about in job.config["variants"].items()})
    return {
        "tokens": long.assign(
            text=[tokens[token] for tokens, token in zip(long["tokens"], long["token"])],
            in_subject=long["token"].between(long["subject_begin"], long["subject_end"] - 1),
            extra=long["token"].between(long["subject_end"], long["subject_end"] + extra - 1),
        )
    }


def cells(effects: pd.DataFrame, prompts: Iterable[tuple[str, int]], sites: tuple[str, ...] = SITES) -> pd.DataFrame:
    """The keys model, variant, prompt_id, site, token and layer of these (variant, prompt_id), one prompt after the
    other. ValueError if a site lacks a token or layer of one, or has it twice.
    """
    return pd.concat([_cells(effects, variant, prompt, sites) for variant, prompt in prompts], ignore_index=True)


def _cells(effects: pd.DataFrame, variant: str, prompt_id: int, sites: tuple[str, ...]) -> pd.DataFrame:
    of_prompt = (effects["prompt_id"] == prompt_id) & (effects["variant"] == variant) & effects["site"].isin(sites)
    keys = effects.loc[of_prompt, ["model", *CELL.by]]
    layers, tokens = keys["layer"].nunique(), keys["token"].nunique()
    for site in sites:
        rows = keys[keys["site"] == site]
        if len(rows) != tokens * layers or rows.duplicated(["token", "layer"]).any():
            raise ValueError(
                f"effects, prompt_id {prompt_id}, site {site}: {len(rows)} rows, expected one per token and "
                f"layer ({tokens} x {layers})"
            )
    return (
        keys.assign(order=keys["site"].map(sites.index)).sort_values(["order", "token", "layer"]).drop(columns="order")
    )


def options(job: Job) -> selection.Settings:
    """Which prompts the item's line in the parameter file wants."""
    return build(selection.Settings, job.config["paper"], f"paper: {job.script.parent.name}/{job.script.stem}")


def gallery() -> Derivation:
    """CELLS of each chosen prompt of one variant, one prompt after the other."""

    def rows(tables: Tables, job: Job) -> pd.DataFrame:
        check(tables, SITES, most=1)
        prompts = selection.chosen(tables["traced"], options(job), job.keys.model)
        variant = tables["traced"]["variant"].iloc[0]
        return cells(tables["effects"], [(variant, prompt) for prompt in prompts])

    return Derivation(CELLS, rows, with_tokens)


def with_places(effects: pd.DataFrame, traced: pd.DataFrame) -> pd.DataFrame:
    """The effects with the column `place` of their token: `subject`, the last one of the subject; `end`, the last one
    of the prompt, where restoring the final states restores everything; `elsewhere`.
    """
    about = traced[["prompt_id", "subject_end"]].assign(length=traced["tokens"].map(len)).set_index("prompt_id")
    end, length = (effects["prompt_id"].map(about[name]) for name in ("subject_end", "length"))
    place = pd.Series("elsewhere", effects.index)
    place = place.mask(effects["token"] == length - 1, "end").mask(effects["token"] == end - 1, "subject")
    return effects.assign(place=place)


HIDDEN = Rows("effects", by=("variant", "prompt_id")).only(site="hidden")
LARGEST: dict[str, Any] = {
    place: HIDDEN.only(place=place).of_column(lambda scores: scores.max(), "largest", "score")
    for place in ("elsewhere", "subject")
}
MARGIN = LARGEST["elsewhere"] - LARGEST["subject"]  # by how much a state elsewhere matters more, in `with_places`


def margins(part: pd.DataFrame) -> pd.Series:
    """MARGIN by prompt, of the hidden states of one variant; none of a prompt without tokens elsewhere. The largest
    first, then by prompt_id.
    """
    best = part.groupby(["place", "prompt_id"])["score"].max()
    margin = (best["elsewhere"] - best["subject"]).dropna() if "elsewhere" in best else pd.Series(dtype=float)
    return (
        margin.rename("margin")
        .reset_index()
        .sort_values(["margin", "prompt_id"], ascending=[False, True])
        .set_index("prompt_id")["margin"]
    )
