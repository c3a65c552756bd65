"""Which fact prompts and which facts the model answers correctly."""

import sys

from engram import cli, io, known, models, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["weights?", "prompts", "facts", "zsre"], keys=["model"],
                    outputs=["known-prompts", "known-facts"])
    lm = models.open_lm(job, runtime.setup(job))
    rows = job.config["known"]["batch_rows"]
    prompts = known.prompts(lm, io.read_table(job.inputs.prompts), rows)
    facts = known.facts(lm, io.read_table(job.inputs.facts), rows)
    print(f"{lm.name} answers {prompts['correct'].sum()} of {len(prompts)} prompts and "
          f"{facts['correct'].sum()} of {len(facts)} facts correctly", file=sys.stderr)
    job.write("known_prompts", prompts)
    job.write("known_facts", facts)


if __name__ == "__main__":
    main()
