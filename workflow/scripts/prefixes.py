"""Context texts sampled from the model itself, one seed per text."""

import pandas as pd

from engram import cli, generation, models, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["weights?"], outputs=["prefixes"], keys=["model"])
    lm = models.open_lm(job, runtime.setup(job))
    settings = job.config["prefixes"]
    texts = generation.prefixes(lm, settings["lengths"], settings["top_k"], (job.config["seed"], lm.name, "prefixes"))
    job.write("prefixes", pd.DataFrame([
        {"model": lm.name, "family": "rome", "prefix_index": i, "length": length, "text": text}
        for i, (length, text) in enumerate(texts)]))


if __name__ == "__main__":
    main()
