"""Edit, one record at a time, and write down what every edited model says."""

from engram import cli, covariance, generation, io, methods, models, outcomes, records, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, keys=["model", "dataset", "method", "n"], outputs=["scores", "texts", "norms"],
                    inputs=["weights?", "facts", "known-facts", "prefixes?", "moments?", "counts?", "targets?"])
    device = runtime.setup(job)
    lm = models.open_lm(job, device)
    chosen = records.chosen(io.read_table(job.inputs.facts), io.read_table(job.inputs.known_facts),
                            **job.config["model"]["records"])
    deltas = methods.load(job.keys.method).edit(
        lm, records.to_facts(chosen), methods.settings(job.config["method"]), aids_of(job, chosen, device))
    sizes = job.config["edit"]
    key = (job.config["seed"], lm.name, "edit", job.keys.dataset)
    tables = {
        "scores": outcomes.scores(lm, chosen, deltas, sizes["batch"]),
        "texts": outcomes.texts(lm, chosen, deltas, sizes["generation_tokens"], sizes["top_k"], key, sizes["batch"]),
        "norms": outcomes.norms(lm, chosen, deltas),
    }
    for name, table in tables.items():
        keys = {"model": lm.name, "dataset": job.keys.dataset, "method": job.keys.method, "n": int(job.keys.n)}
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


def aids_of(job, chosen, device) -> methods.Aids:
    """What the method's NEEDS brought along, checked against the records at hand."""
    given, found = job.inputs, {}
    if given.prefixes:
        found["contexts"] = tuple(generation.contexts(list(io.read_table(given.prefixes)["text"])))
    if given.moments:
        found["moments"] = covariance.from_tensors(*io.read_tensors(given.moments), device)
    if given.targets:
        tensors, metadata = io.read_tensors(given.targets)
        if metadata["case_id"] != list(chosen["case_id"]):
            raise ValueError(f"{given.targets}: its records are not the {len(chosen)} that are edited here")
        found["targets"] = tensors["value"].to(device)
    return methods.Aids(**found)


if __name__ == "__main__":
    main()
