"""Train tokenizer and weights of a small GPT-2 on the corpus of its source."""

from collections.abc import Sequence

from engram.job import arguments, io, schemas
from engram.model import runtime, saving, training
from engram.settings.blocks import build


def main(argv: Sequence[str] | None = None) -> None:
    """Train the model on its corpus, and write weights, tokenizer and losses."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["corpus"],
        keys=["model"],
        outputs=["weights", "model-config", "generation-config", "tokenizer", "tokenizer-config", "loss"],
    )
    device = runtime.setup(job)
    settings = build(training.Training, job.config["model"]["train"], f"models.{job.keys.model}.train")
    model, tokenizer, log = training.train(
        io.read_table(job.inputs.corpus, schemas.CORPUS), settings, job.keys.model, job.config["seed"], device
    )
    saving.write(job, model, tokenizer)
    job.write("loss", log)


if __name__ == "__main__":
    main()
