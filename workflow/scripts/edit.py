"""Edit, n facts at a time, and write down what every edited model says."""

import pandas as pd

from engram import cli, config, contexts, io, methods, models, moments, outcomes, records, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, keys=["model", "dataset", "method", "n"], outputs=["scores", "texts", "norms"],
                    inputs=["weights?", "facts", "known-facts", "prefixes?", "moments?", "counts?", "targets?",
                            "hypernet?"])
    lm = models.open_lm(job, runtime.setup(job))
    chosen = records.chosen(io.read_table(job.inputs.facts), io.read_table(job.inputs.known_facts),
                            **job.config["model"]["records"])
    aids = aids_of(job, chosen, lm)
    sizes = config.build(outcomes.Config, job.config["edit"], "edit")
    key = (job.config["seed"], lm.name, "edit", job.keys.dataset)
    settings, n, found = methods.settings(job.config["method"]), int(job.keys.n), []
    step = n * max(1, sizes.records // n)
    for start in range(0, len(chosen), step):
        rows = chosen.iloc[start : start + step]
        deltas = methods.deltas(job.keys.method, lm, records.to_facts(rows), settings, aids, n)
        found.append(outcomes.outcomes(lm, rows, deltas, job.keys.dataset, sizes, key))
    keys = {"model": lm.name, "dataset": job.keys.dataset, "method": job.keys.method, "n": n}
    for name in ("scores", "texts", "norms"):
        table = pd.concat([tables[name] for tables in found], ignore_index=True)
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


def aids_of(job, chosen, lm) -> methods.Aids:
    """What the method's NEEDS brought along, checked against the records at hand."""
    given, found = job.inputs, {}
    if given.prefixes:
        family = getattr(methods.settings(job.config["method"]), "contexts", "rome")
        found["contexts"] = tuple(contexts.templates(io.read_table(given.prefixes), family))
    if given.moments:
        found["moments"] = moments.load(given.moments, job, lm)
    if given.targets:
        tensors, metadata = io.read_tensors(given.targets)
        if metadata["case_id"] != list(chosen["case_id"]):
            raise ValueError(f"{given.targets}: its records are not the {len(chosen)} that are edited here")
        found["targets"] = dict(zip(metadata["case_id"], tensors["value"].to(lm.device)))
    if given.hypernet:
        found["hypernet"] = io.read_tensors(given.hypernet)
    return methods.Aids(**found)


if __name__ == "__main__":
    main()
