"""The uncentred second moment of the keys of every wanted layer, from one pass over the text."""

import torch

from engram import cli, covariance, io, models, runtime


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["weights?", "text"], outputs=["moments", "counts"], keys=["model"])
    lm = models.open_lm(job, runtime.setup(job))
    settings, layers = job.config["covariance"], job.config["model"]["covariance_layers"]
    texts = list(io.read_table(job.inputs.text)["text"][: settings["articles"]])
    limit = lm.model.config.max_position_embeddings
    moments = covariance.second_moments(
        lm, layers, texts, limit, settings["batch_tokens"], getattr(torch, settings["dtype"]))
    job.write("moments", covariance.to_tensors(moments))
    job.write("counts", {"model": lm.name, "articles": len(texts), "max_tokens": limit, "dtype": settings["dtype"],
                         "tokens": {str(layer): moment.count for layer, moment in moments.items()}})


if __name__ == "__main__":
    main()
