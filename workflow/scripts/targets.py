"""Optimised values v* or z, one per record."""

from collections.abc import Sequence

from engram.editing import editor, records
from engram.editing.values import targets
from engram.job import arguments, io, resuming, schemas
from engram.model import contexts, loading, runtime
from engram.settings import objective


def main(argv: Sequence[str] | None = None) -> None:
    """Optimise the value of every record that is edited, and write values and losses."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        keys=["model", "dataset", "family"],
        outputs=["targets", "steps"],
        inputs=["manifest", "weights?", "facts", "known-facts", "prefixes"],
    )
    lm = loading.open_lm(job, runtime.setup(job))
    chosen = records.chosen(
        io.read_table(job.inputs.facts, schemas.RECORDS_OF[job.keys.dataset]),
        io.read_table(job.inputs.known_facts, schemas.KNOWN_OF[job.keys.dataset]),
        **job.config["model"]["records"],
    )
    settings = objective.of_method(editor.load(job.config["method"]).Settings, job.config["method"])
    templates = contexts.templates(io.read_table(job.inputs.prefixes, schemas.PREFIXES), settings.contexts)
    records.check_lengths(lm, chosen, job.keys.dataset, templates)
    sizes = job.config["targets"]
    with resuming.store(job) as store:
        optimised = targets.optimise(
            lm,
            records.to_facts(chosen),
            templates,
            settings,
            None if sizes["batch"] == "auto" else sizes["batch"],
            store,
        )
        job.write(
            "targets",
            (
                {"value": optimised.value, "initial": optimised.initial},
                {"case_id": [int(case_id) for case_id in chosen["case_id"]]},
            ),
        )
        keys = {"model": lm.name, "dataset": job.keys.dataset, "family": job.keys.family}
        job.write("steps", optimised.log.assign(**keys)[[*keys, *optimised.log.columns]])


if __name__ == "__main__":
    main()
