"""How strongly is a subject corrupted? The size of the noise on its embeddings. (ROME Sec. 2.1, App. B)"""

from collections.abc import Sequence

from engram.job import arguments, io, schemas
from engram.model import loading, runtime
from engram.settings.blocks import build
from engram.tracing import noise


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the corruption by one noise rule, and write its size and its vectors."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["prompts", "text", "manifest", "weights?"],
        outputs=["noise", "vectors"],
        keys=["model", "rule"],
    )
    device = runtime.setup(job)
    lm = loading.open_lm(job, device)
    settings = build(noise.Config, job.config["noise"], "noise")
    subjects = io.read_table(job.inputs.prompts, schemas.KNOWN_PROMPTS)["subject"].tolist()
    texts = io.read_table(job.inputs.text, schemas.ARTICLES)
    values, tensors = noise.measure(lm, job.keys.rule, subjects, texts, settings, job.config["seed"])
    job.write("vectors", tensors)
    job.write("noise", values)


if __name__ == "__main__":
    main()
