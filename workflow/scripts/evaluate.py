"""Metrics of one method per record, and their means with confidence intervals."""

from engram import cli, io, metrics, texts


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["facts?", "snippets?", "scores", "texts?"],
                    keys=["model", "dataset", "method", "n"], outputs=["records", "summary"])
    dataset = job.keys.dataset
    records = metrics.of(dataset, io.read_table(job.inputs.scores))
    if job.inputs.texts:
        prose = texts.text_metrics(io.read_table(job.inputs.texts), io.read_table(job.inputs.facts),
                                   io.read_table(job.inputs.snippets))
        records = records.merge(prose, on="case_id", how="outer", validate="one_to_one")
    keys = {"model": job.keys.model, "dataset": dataset, "method": job.keys.method, "n": int(job.keys.n)}
    for name, table in {"records": records, "summary": metrics.summary(records, dataset)}.items():
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


if __name__ == "__main__":
    main()
