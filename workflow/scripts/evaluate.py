"""Metrics of one method per record, and their means with confidence intervals."""

from engram.datasets import original_formats
from engram.evaluation import metrics
from engram.job import arguments, io, schemas
from engram.settings.fact_groups import FactGroup


def main(argv=None):
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


def prose(job, written):
    """GE and RS of the texts; as empty as these."""
    if written.empty:
        return written
    from engram.evaluation import (
        text_metrics,  # loads scikit-learn and nltk, for a second that most evaluations can do without
    )

    return text_metrics.text_metrics(
        written,
        io.read_table(job.inputs.facts, schemas.FACTS),
        io.read_table(job.inputs.snippets, schemas.SNIPPETS),
        space(job, text_metrics),
    )


def space(job, texts):
    """The published TF-IDF space, if the source has one; it is fitted on the snippets otherwise."""
    if not job.inputs.idf:
        return None
    return texts.published(original_formats.vocabulary(job.inputs.vocabulary), original_formats.idf(job.inputs.idf))


if __name__ == "__main__":
    main()
