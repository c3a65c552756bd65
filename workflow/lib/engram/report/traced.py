"""What the prompt browser shows: every traced prompt with the scores of its restorations (ROME Sec. 2)."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from engram.drawing import style
from engram.report import packed

SHADES = 17  # colours of a bar, between which the page interpolates


def browser(effects: pd.DataFrame, prompts: pd.DataFrame, window: int, model: str) -> dict:
    """Prompts in table order; `scores` of prompt, site, token and layer, one behind the other.

    ValueError if a score is missing or there twice.
    """
    sites, layers = list(style.SITES), int(effects["layer"].max()) + 1
    lengths = prompts["tokens"].map(len).to_numpy()
    starts = pd.Series(np.cumsum(lengths) - lengths, index=prompts["prompt_id"])
    rows = effects[effects["site"].isin(sites)]
    before, length = rows["prompt_id"].map(starts), rows["prompt_id"].map(dict(zip(prompts["prompt_id"], lengths)))
    site = rows["site"].map({name: index for index, name in enumerate(sites)})
    place = ((before * len(sites) + site * length + rows["token"]) * layers + rows["layer"]).to_numpy()
    total = int(lengths.sum()) * len(sites) * layers
    if len(place) != total or len(np.unique(place)) != total or place.min() != 0 or place.max() != total - 1:
        raise ValueError(
            f"traces: {len(place):,} scores, expected each of {total:,} once (prompts x sites x tokens x layers)"
        )
    scores = np.empty(total)
    scores[place] = rows["score"]
    return {
        "layers": layers,
        "steps": packed.STEPS,
        "nothing": packed.NOTHING,
        "sites": [_site(site, window, model) for site in sites],
        "prompts": _prompts(prompts),
        "scores": packed.probabilities(scores),
    }


def _site(site: str, window: int, model: str) -> dict:
    look = style.SITES[site]
    shades = [to_hex(colormaps[look.colormap](at)) for at in np.linspace(0, 1, SHADES)]
    return {"title": look.title, "axis": " ".join(style.layer_label(site, window, model).split()), "shades": shades}


def _prompts(prompts: pd.DataFrame) -> list[dict]:
    return [
        {
            "id": int(row.prompt_id),
            "prompt": row.prompt,
            "subject": row.subject,
            "answer": row.answer.strip(),
            "tokens": list(row.tokens),
            "begin": int(row.subject_begin),
            "end": int(row.subject_end),
            "clean": round(float(row.clean), 6),
            "corrupted": round(float(row.corrupted), 6),
        }
        for row in prompts.itertuples()
    ]
