"""Metrics of one method per record, and their means with confidence intervals."""

from collections.abc import Sequence

import pandas as pd

from engram.datasets import original_formats
from engram.evaluation import metrics
from engram.job import arguments, io, schemas
from engram.settings.fact_groups import FactGroup


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the metrics of every record and their summary, and write both."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["facts?", "snippets?", "idf?", "vocabulary?", "scores", "texts?"],
        keys=["model", "dataset", "method", "n"],
        outputs=["records", "summary"],
    )
    dataset, n = job.keys.dataset, FactGroup.parse(job.keys.n)
    records = metrics.of(dataset, io.read_table(job.inputs.scores, schemas.SCORES))
    if job.inputs.facts:
        relations = io.read_table(job.inputs.facts, schemas.FACTS).set_index("case_id")["relation_id"]
        records.insert(0, "relation_id", records["case_id"].map(relations))
    if job.inputs.texts:
        records = metrics.with_texts(records, prose(job, io.read_table(job.inputs.texts, schemas.TEXTS_WRITTEN)))
    keys = {"model": job.keys.model, "dataset": dataset, "method": job.keys.method, "n": n.column}
    summary = metrics.summary(records, dataset, along=n.batch is not None)
    for name, table in {"records": records, "summary": summary}.items():
        job.write(name, table.assign(**keys)[[*keys, *table.columns]])


def prose(job: arguments.Job, written: pd.DataFrame) -> pd.DataFrame:
    """GE and RS of the table `texts` by case_id, or the table itself where it is empty."""
    if written.empty:
        return written
    from engram.evaluation import text_metrics  # loads scikit-learn and nltk: a second that most jobs can do without

    space = None  # fitted on the snippets, if the source has no published one
    if job.inputs.idf:
        words, weights = original_formats.vocabulary(job.inputs.vocabulary), original_formats.idf(job.inputs.idf)
        space = text_metrics.published(words, weights)
    facts = io.read_table(job.inputs.facts, schemas.FACTS)
    return text_metrics.text_metrics(written, facts, io.read_table(job.inputs.snippets, schemas.SNIPPETS), space)


if __name__ == "__main__":
    main()
