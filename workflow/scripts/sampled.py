"""Text that the model writes itself, for a source that has none: articles for second moments, passages held out."""

from collections.abc import Sequence

from engram.job import arguments
from engram.model import loading, own_text, runtime
from engram.settings.blocks import build
from engram.settings.sections import Sampled


def main(argv: Sequence[str] | None = None) -> None:
    """Sample the articles and the passages, and write them."""
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["manifest", "weights?"], keys=["model"], outputs=["text", "heldout"]
    )
    lm = loading.open_lm(job, runtime.setup(job))
    for name, table in own_text.sample(
        lm, build(Sampled, job.config["sampled"], "sampled"), job.config["seed"]
    ).items():
        job.write(name, table)


if __name__ == "__main__":
    main()
