"""Context texts sampled from the model itself, one seed per text."""

from collections.abc import Sequence

from engram.job import arguments
from engram.model import contexts, loading, runtime


def main(argv: Sequence[str] | None = None) -> None:
    """Sample the context texts of every family, and write them."""
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["manifest", "weights?"], outputs=["prefixes"], keys=["model"]
    )
    lm = loading.open_lm(job, runtime.setup(job))
    job.write("prefixes", contexts.sample(lm, job.config["prefixes"]["families"], job.config["seed"]))


if __name__ == "__main__":
    main()
