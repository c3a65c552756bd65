"""The same prompts traced with the subject corrupted, and with a token after it corrupted too.

If the early site only marked the end of what was corrupted, it would move to the extra token. Rows of one prompt share
their colour scales, whose ends are printed. `*` marks subject tokens, `+` the extra ones. Unless `prompts` names them
for the model, the prompts are chosen by rule, as in Fig. 10, among those traced both ways. PAPER: ROME Fig. 12.
"""

import pandas as pd

from engram.drawing import style, trace_panels, trace_tables
from engram.job import arguments
from engram.settings import config
from engram.tracing import selection


def table(effects, traced, settings, model: str, variants: dict) -> pd.DataFrame:
    """The cells (traces.CELLS) of each prompt in each variant, prompts chosen by the first variant's table."""
    tables = {name: traced[traced["variant"] == name] for name in variants}
    both = set.intersection(*(set(table["prompt_id"]) for table in tables.values()))
    if not both:
        raise ValueError(f"variants {list(variants)} of trace: no prompt was traced in all of them")
    first = tables[next(iter(variants))]
    chosen = selection.chosen(first[first["prompt_id"].isin(both)], settings, model)
    return pd.concat(
        [
            trace_tables.cells(effects[effects["variant"] == name], tables[name], prompt, extra=about["extra_tokens"])
            for prompt in chosen
            for name, about in variants.items()
        ],
        ignore_index=True,
    )


def draw(frame: pd.DataFrame, window: int):
    """Rows of three heatmaps from `table`'s frame, the variants of a prompt below each other."""
    return trace_panels.heatmaps(frame, window)


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    settings = config.build(selection.Settings, job.config["paper"], "paper: rome/fig12_extra_token")
    frame = table(*trace_tables.read(job.inputs, trace_tables.SITES), settings, job.keys.model, job.config["variants"])
    style.save(job, draw(frame, job.config["model"]["trace_window"]), frame)


if __name__ == "__main__":
    main()
