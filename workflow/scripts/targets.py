"""Optimised values v*, one per record."""

import pandas as pd

from engram import cli, generation, io, methods, models, records, runtime, targets


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, keys=["model", "dataset", "family"], outputs=["targets", "steps"],
                    inputs=["weights?", "facts", "known-facts", "prefixes"])
    lm = models.open_lm(job, runtime.setup(job))
    chosen = records.chosen(io.read_table(job.inputs.facts), io.read_table(job.inputs.known_facts),
                            **job.config["model"]["records"])
    settings = methods.settings(job.config["method"])
    contexts = generation.contexts(list(io.read_table(job.inputs.prefixes)["text"]))
    found = targets.optimise(lm, records.to_facts(chosen), contexts, settings, job.config["targets"]["batch"])
    job.write("targets", ({"value": found.value, "initial": found.initial},
                          {"case_id": [int(case_id) for case_id in chosen["case_id"]]}))
    job.write("steps", pd.concat([pd.DataFrame({"model": [lm.name] * len(found.log)}), found.log], axis=1))


if __name__ == "__main__":
    main()
