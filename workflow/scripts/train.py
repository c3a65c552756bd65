"""Train tokenizer and weights of a small GPT-2 on the corpus of its source."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from engram.job import arguments, io, schemas
from engram.model import runtime, training
from engram.settings.blocks import build

FILES = {
    "weights": "model.safetensors",
    "model_config": "config.json",
    "generation_config": "generation_config.json",
    "tokenizer": "tokenizer.json",
    "tokenizer_config": "tokenizer_config.json",
}


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
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name, file in FILES.items():
            job.write(name, Path(folder, file).read_bytes())
    job.write("loss", log)


if __name__ == "__main__":
    main()
