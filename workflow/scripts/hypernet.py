"""Train an editor (MEND or KE) on records and texts that no edit is measured on; or take a published one over."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from engram.editing import records
from engram.editing.trained_editors import editors, published_editors, tasks, training
from engram.job import arguments, io, resuming, schemas
from engram.model import loading, runtime
from engram.model.loading import LM
from engram.settings.blocks import build


def main(argv: Sequence[str] | None = None) -> None:
    """Train the editor, or convert a published one, and write it with the log of its losses."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        keys=["model", "name"],
        outputs=["hypernet", "loss"],
        inputs=["manifest", "weights?", "published?", "facts", "zsre", "text", "known-facts", "known-zsre"],
    )
    lm = loading.open_lm(job, runtime.setup(job))
    section, here = job.config["hypernet"], f"hypernet.{job.keys.name}, model {lm.name}"
    with resuming.store(job) as store:
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


def trained(
    job: arguments.Job, lm: LM, section: dict[str, Any], here: str, store: resuming.Store
) -> tuple[Any, pd.DataFrame]:
    """A newly trained editor as (tensors, metadata), and the log of its training. `here`: what messages call it."""
    data = build(tasks.Settings, section["data"], f"{here}, data")
    how = build(training.Settings, section["training"], f"{here}, training")
    network = editors.settings_of(section["net"], section["network"], f"{here}, network")
    tables = {
        name: io.read_table(getattr(job.inputs, name), schemas.DATASET[name]) for name in ("facts", "zsre", "text")
    }
    key = (job.config["seed"], lm.name, "hypernet", job.keys.name)
    task = tasks.make(lm, section["task"], tables, evaluated(job, tables), data, key)
    net = editors.build(lm, section["net"], network, editors.seed_of(job.config["seed"], lm.name, job.keys.name))
    log = training.train(lm, net, task, how, data.text_tokens, key, store)
    return editors.to_artifact(net, task.about), log


def evaluated(job: arguments.Job, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The records of both tables that are edited, by the rule of stage `edit`; of zsRE also the first, known or not."""
    which = job.config["model"]["records"]
    known = {
        "facts": io.read_table(job.inputs.known_facts, schemas.KNOWN_FACTS),
        "zsre": io.read_table(job.inputs.known_zsre, schemas.KNOWN_ZSRE),
    }
    edited = [records.chosen(tables["facts"], known["facts"], **which), tables["zsre"].head(which["count"])]
    if known["zsre"]["correct"].any():
        edited.append(records.chosen(tables["zsre"], known["zsre"], which["count"], which["only_known"]))
    return pd.concat([frame[["subject", "prompt"]] for frame in edited])


if __name__ == "__main__":
    main()
