"""Metrics of one method per record, and their means with confidence intervals."""

from engram import cli, io, metrics, texts


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["facts", "snippets", "scores", "texts"],
                    keys=["model", "dataset", "method", "n"], outputs=["records", "summary"])
    facts = io.read_table(job.inputs.facts)
    numbers = metrics.probability_metrics(io.read_table(job.inputs.scores))
    prose = texts.text_metrics(io.read_table(job.inputs.texts), facts, io.read_table(job.inputs.snippets))
    records = numbers.merge(prose, on="case_id", how="outer", validate="one_to_one")
    keys = {"model": job.keys.model, "dataset": job.keys.dataset, "method": job.keys.method, "n": int(job.keys.n)}
    for name, table in {"records": records, "summary": metrics.summary(records)}.items():
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


if __name__ == "__main__":
    main()
