"""Train an editor (MEND or KE) on records and texts that no edit is measured on; or take a published one over."""

import pandas as pd

from engram.editing import records
from engram.editing.hypernet import editors, published_editors, tasks, training
from engram.job import arguments, io, schemas, shards
from engram.model import loading, runtime
from engram.settings import config


def main(argv=None):
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        keys=["model", "name"],
        outputs=["hypernet", "loss"],
        inputs=["weights?", "published?", "facts", "zsre", "text", "known-facts", "known-zsre"],
    )
    lm = loading.open_lm(job, runtime.setup(job))
    section, here = job.config["hypernet"], f"hypernet.{job.keys.name}, model {lm.name}"
    with shards.store(job) as store:
        if job.inputs.published:
            artifact, log = (
                published_editors.load(job.inputs.published, lm, section["net"]),
                pd.DataFrame(columns=training.COLUMNS),
            )
        else:
            artifact, log = trained(job, lm, section, here, store)
        job.write("hypernet", artifact)
        keys = {"model": lm.name, "name": job.keys.name}
        job.write("loss", log.assign(**keys)[[*keys, *log.columns]])


def trained(job, lm, section, here, store):
    """A newly trained editor as an artifact, and the log of its training."""
    data = config.build(tasks.Settings, section["data"], f"{here}, data")
    how = config.build(training.Settings, section["training"], f"{here}, training")
    network = editors.settings_of(section["net"], section["network"], f"{here}, network")
    tables = {
        name: io.read_table(getattr(job.inputs, name), schemas.DATASET[name]) for name in ("facts", "zsre", "text")
    }
    key = (job.config["seed"], lm.name, "hypernet", job.keys.name)
    task = tasks.make(lm, section["task"], tables, evaluated(job, tables), data, key)
    net = editors.build(lm, section["net"], network, editors.seed_of(job.config["seed"], lm.name, job.keys.name))
    log = training.train(lm, net, task, how, data.text_tokens, key, store)
    return editors.to_artifact(net, task.about), log


def evaluated(job, tables):
    """The records of both tables that are edited, by the rule of stage `edit`; of zsRE also the first, known or not."""
    which = job.config["model"]["records"]
    known = {
        "facts": io.read_table(job.inputs.known_facts, schemas.KNOWN_FACTS),
        "zsre": io.read_table(job.inputs.known_zsre, schemas.KNOWN_ZSRE),
    }
    found = [records.chosen(tables["facts"], known["facts"], **which), tables["zsre"].head(which["count"])]
    if known["zsre"]["correct"].any():
        found.append(records.chosen(tables["zsre"], known["zsre"], which["count"], which["only_known"]))
    return pd.concat([frame[["subject", "prompt"]] for frame in found])


if __name__ == "__main__":
    main()
