"""Edit, n facts at a time, and write down what every edited model says."""

import sys
from collections.abc import Sequence

import pandas as pd

from engram.editing import drift, editor, outcomes, records, sequence
from engram.job import arguments, io, schemas
from engram.model import loading, runtime
from engram.model.loading import LM
from engram.settings.blocks import build
from engram.settings.fact_groups import FactGroup


def main(argv: Sequence[str] | None = None) -> None:
    """Edit the chosen records in groups of n facts, and write what the edited models say."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        keys=["model", "dataset", "method", "n"],
        inputs=[
            "manifest",
            "weights?",
            "facts",
            "known-facts",
            "reversed?",
            "heldout?",
            "prefixes?",
            "moments?",
            "counts?",
            "targets?",
            "hypernet?",
        ],
        outputs=["scores", "texts", "norms", "drift"],
    )
    n = FactGroup.parse(job.keys.n)
    lm = loading.open_lm(job, runtime.setup(job))
    chosen = records.chosen(
        io.read_table(job.inputs.facts, schemas.RECORDS_OF[job.keys.dataset]),
        io.read_table(job.inputs.known_facts, schemas.KNOWN_OF[job.keys.dataset]),
        of=n.ranks,
        **job.config["model"]["records"],
    )
    aids = editor.aids_of(job, lm, list(chosen["case_id"]))
    warn_of_contradictions(chosen, n)
    if job.inputs.reversed:
        chosen = records.with_reverse(chosen, io.read_table(job.inputs.reversed, schemas.REVERSED))
    records.check_lengths(lm, chosen, job.keys.dataset, aids.contexts)
    sizes = build(outcomes.Config, job.config["edit"], "edit")
    outputs = sequence.tables(
        lm,
        chosen,
        job.config["method"],
        editor.settings(job.config["method"]),
        aids,
        n,
        job.keys.dataset,
        sizes,
        (job.config["seed"], lm.name, "edit", job.keys.dataset),
        job.config.get("texts"),
        heldout_of(job, lm, sizes),
    )
    keys = vars(job.keys) | {"n": n.column}
    for name, table in outputs.items():
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


def heldout_of(job: arguments.Job, lm: LM, sizes: outcomes.Config) -> drift.Heldout | None:
    """The passages that edited models read, for an edit whose drift is wanted."""
    if not job.inputs.heldout:
        return None
    return drift.heldout(lm, io.read_table(job.inputs.heldout, schemas.HELDOUT), sizes.perplexity)


def warn_of_contradictions(chosen: pd.DataFrame, n: FactGroup) -> None:
    """A line on stderr if some of these records contradict others of them, where one model is to hold several."""
    clashes = records.contradictions(chosen) if n.facts > 1 else []
    if clashes:
        print(
            f"edit: {len(clashes)} of {len(chosen)} records contradict an earlier one, as case_id {clashes[0][1]} does "
            f"{clashes[0][0]}; no model that holds both can say both",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
