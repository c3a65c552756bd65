"""Edit, n facts at a time, and write down what every edited model says."""

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from engram.editing import drift, editor, outcomes, records, second_moment, sequence
from engram.job import arguments, io, schemas
from engram.model import contexts, loading, runtime
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
    aids = aids_of(job, chosen, lm)
    clashes = records.contradictions(chosen) if n.facts > 1 else []
    if clashes:
        print(
            f"edit: {len(clashes)} of {len(chosen)} records contradict an earlier one, as case_id {clashes[0][1]} does "
            f"{clashes[0][0]}; no model that holds both can say both",
            file=sys.stderr,
        )
    if job.inputs.reversed:
        chosen = records.with_reverse(chosen, io.read_table(job.inputs.reversed, schemas.REVERSED))
    records.check_lengths(lm, chosen, job.keys.dataset, aids.contexts)
    sizes = build(outcomes.Config, job.config["edit"], "edit")
    key = (job.config["seed"], lm.name, "edit", job.keys.dataset)
    outputs = sequence.tables(
        lm,
        chosen,
        job.config["method"],
        editor.settings(job.config["method"]),
        aids,
        n,
        job.keys.dataset,
        sizes,
        key,
        job.config.get("texts"),
        heldout_of(job, lm, sizes),
    )
    keys = {"model": lm.name, "dataset": job.keys.dataset, "method": job.keys.method, "n": n.column}
    for name, table in outputs.items():
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


def heldout_of(job: arguments.Job, lm: LM, sizes: outcomes.Config) -> drift.Heldout | None:
    """The passages that edited models read, for an edit whose drift is wanted."""
    if not job.inputs.heldout:
        return None
    return drift.heldout(lm, io.read_table(job.inputs.heldout, schemas.HELDOUT), sizes.perplexity)


def aids_of(job: arguments.Job, chosen: pd.DataFrame, lm: LM) -> editor.Aids:
    """What the method needs besides the model, from the inputs. ValueError if a record of `chosen` has no value."""
    given, aids = job.inputs, dict[str, Any]()
    if given.prefixes:
        family = getattr(editor.settings(job.config["method"]), "contexts", "rome")
        aids["contexts"] = tuple(contexts.templates(io.read_table(given.prefixes, schemas.PREFIXES), family))
    if given.moments:
        aids["moments"] = second_moment.load(given.moments, job, lm)
    if given.targets:
        tensors, metadata = io.read_tensors(given.targets)
        aids["targets"] = dict(zip(metadata["case_id"], tensors["value"].to(lm.device)))
        missing = [case_id for case_id in chosen["case_id"] if case_id not in aids["targets"]]
        if missing:
            raise ValueError(
                f"{given.targets}: no value for record {missing[0]} and {len(missing) - 1} more of the "
                f"{len(chosen)} that are edited here; it has {len(aids['targets'])}"
            )
    if given.hypernet:
        aids["hypernet"] = io.read_tensors(given.hypernet)
    return editor.Aids(**aids)


if __name__ == "__main__":
    main()
