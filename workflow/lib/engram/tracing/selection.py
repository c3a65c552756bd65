"""Which traced prompts are shown one at a time: those that an item names, else some by a rule. Free of torch.

Which prompts are traced at all: `selected` of engram.tracing.causal_trace.
"""

from math import ceil

import pandas as pd

from engram.settings.items import ShownPrompts as Settings


def chosen(traced: pd.DataFrame, settings: Settings, model: str) -> list[int]:
    """The ids of the prompts to show: those that `settings.prompts` names for the model, else `settings.count` by rule.

    `traced` is the table `prompts` of stage `trace`.

    The rule: prompts whose subject has several tokens and is followed by several are ranked by their total effect
    (clean minus corrupted probability, then id) and cut into `count` equal parts; the middle prompt of each part is
    shown, the largest effect first. Without such prompts all are ranked. ValueError names a prompt that was not traced.
    """
    if model in settings.prompts:
        return [_named(traced, name) for name in settings.prompts[model]]
    subject = traced["subject_end"] - traced["subject_begin"]
    after = traced["tokens"].map(len) - traced["subject_end"]
    several = traced[(subject > 1) & (after > 1)]
    pool = several if len(several) else traced
    ranked = pool.assign(effect=pool["clean"] - pool["corrupted"]).sort_values(["effect", "prompt_id"])["prompt_id"]
    count = min(settings.count, len(ranked))
    return [int(ranked.iloc[ceil((part + 0.5) / count * len(ranked)) - 1]) for part in reversed(range(count))]


def _named(traced: pd.DataFrame, name: int | str) -> int:
    column = "subject" if isinstance(name, str) else "prompt_id"
    ids = traced.loc[traced[column] == name, "prompt_id"]
    if ids.empty:
        raise ValueError(
            f"options.prompts: no traced prompt has the {column} {name!r}; {len(traced)} prompts were traced: "
            "those that the model answers correctly"
        )
    return int(ids.iloc[0])
