"""Context texts sampled from the model itself, one seed per text."""

from engram import cli, contexts, models, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["weights?"], outputs=["prefixes"], keys=["model"])
    lm = models.open_lm(job, runtime.setup(job))
    job.write("prefixes", contexts.sample(lm, job.config["prefixes"]["families"], job.config["seed"]))


if __name__ == "__main__":
    main()
