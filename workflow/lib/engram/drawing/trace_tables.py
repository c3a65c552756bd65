"""The tables of stage `trace` for a figure: read by variant, and the prompts that are shown one at a time.

effects: model, variant, prompt_id, site, token, layer, score; traced: model, variant, prompt_id, prompt, subject,
answer, tokens, subject_begin, subject_end (exclusive), clean, corrupted (engram.evaluation.indirect_effects says what
the columns hold).
"""

import pandas as pd

from engram.job import io
from engram.tracing.selection import Settings, chosen

SITES = ("hidden", "mlp", "attn")
SEVERED = ("hidden", "no_attn", "no_mlp")  # one state restored; as it is, with attention severed, with the MLPs severed
CELLS = [
    "model",
    "variant",
    "prompt_id",
    "prompt",
    "subject",
    "answer",
    "clean",
    "corrupted",
    "site",
    "token",
    "text",
    "in_subject",
    "extra",
    "layer",
    "score",
]  # extra: corrupted, though not of the subject


def read(inputs, sites: tuple, most: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of all variants that the job was given (`inputs.effects`, `inputs.traced`: lists of paths).

    ValueError if there are more than `most` variants, or one of them was traced without one of `sites`.
    """
    effects = [io.read_table(path) for path in inputs.effects]
    traced = pd.concat([io.read_table(path) for path in inputs.traced], ignore_index=True)
    names = list(traced["variant"].unique())
    if most is not None and len(names) > most:
        raise ValueError(
            f"variants {names} of trace: this item shows {most}; name so many under `variants` of its line"
        )
    for table in effects:
        missing = sorted(set(sites) - set(table["site"]))
        if missing:
            raise ValueError(
                f"variant {table['variant'].iloc[0]} of trace: sites {missing} were not traced, there are "
                f"{sorted(table['site'].unique())}; add them to its `sites` or show another variant"
            )
    return pd.concat(effects, ignore_index=True), traced


def cells(
    effects: pd.DataFrame, traced: pd.DataFrame, prompt_id: int, extra: int = 0, sites: tuple = SITES
) -> pd.DataFrame:
    """CELLS of one prompt in one variant, which corrupts `extra` tokens after the subject, by site, token and layer.

    ValueError if a cell is missing or doubled.
    """
    row = traced[traced["prompt_id"] == prompt_id].iloc[0]
    found = effects[(effects["prompt_id"] == prompt_id) & effects["site"].isin(sites)].copy()
    layers, tokens = found["layer"].nunique(), found["token"].nunique()
    for site in sites:
        here = found[found["site"] == site]
        if len(here) != tokens * layers or here.duplicated(["token", "layer"]).any():
            raise ValueError(
                f"effects, prompt_id {prompt_id}, site {site}: {len(here)} rows, expected one per token and "
                f"layer ({tokens} x {layers})"
            )
    found["text"] = [row["tokens"][token] for token in found["token"]]
    found["in_subject"] = found["token"].between(row["subject_begin"], row["subject_end"] - 1)
    found["extra"] = found["token"].between(row["subject_end"], row["subject_end"] + extra - 1)
    found = found.assign(**{name: row[name] for name in ("prompt", "subject", "answer", "clean", "corrupted")})
    found = found.assign(order=found["site"].map(sites.index)).sort_values(["order", "token", "layer"])
    return found[CELLS].reset_index(drop=True)


def gallery(effects: pd.DataFrame, traced: pd.DataFrame, settings: Settings, model: str, variants: dict, sites=SITES):
    """`cells` of each chosen prompt, one after the other; `variants`: what the figure's slice says about its
    variant.
    """
    extra = variants[traced["variant"].iloc[0]]["extra_tokens"]
    parts = [cells(effects, traced, prompt_id, extra, sites) for prompt_id in chosen(traced, settings, model)]
    return pd.concat(parts, ignore_index=True)


def rivals(effects: pd.DataFrame, traced: pd.DataFrame) -> pd.DataFrame:
    """Per prompt, where else than at the last subject token a hidden state matters most, and by how much more.

    (prompt_id, token, layer, score, at_subject, margin): the largest score at any token but the last of the subject and
    the last of the prompt, where restoring the final states restores everything; the largest score at the last subject
    token; margin = score - at_subject. Largest margin first, then by prompt_id.
    """
    about = traced[["prompt_id", "subject_end"]].assign(length=traced["tokens"].map(len))
    hidden = effects[effects["site"] == "hidden"].merge(about, on="prompt_id")
    at_subject = hidden["token"] == hidden["subject_end"] - 1
    own = hidden[at_subject].groupby("prompt_id")["score"].max().rename("at_subject")
    others = hidden[~at_subject & (hidden["token"] < hidden["length"] - 1)]
    best = others.loc[others.groupby("prompt_id")["score"].idxmax(), ["prompt_id", "token", "layer", "score"]]
    found = best.merge(own, on="prompt_id")
    found["margin"] = found["score"] - found["at_subject"]
    return found.sort_values(["margin", "prompt_id"], ascending=[False, True], ignore_index=True)
