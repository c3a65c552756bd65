"""The canonical tables of one source: generated (kind world), parsed from a folder of original files (kind folder), or
made of facts and wordings (kind atlas).
"""

from collections.abc import Sequence

from engram.datasets import atlas, folder, world
from engram.job import arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Make or parse the tables of one source, and write them."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["raw*", "wordings?"],
        keys=["model"],
        outputs=["facts", "zsre", "prompts", "snippets", "text", "corpus", "heldout", "reversed", "hops"],
    )
    source = {key: value for key, value in job.config["source"].items() if key != "name"}
    if source["kind"] == "world":
        tables = world.tables(source, job.config["seed"])
    elif source["kind"] == "atlas":
        tables = atlas.tables(source, job.inputs.raw, job.config["seed"])
    else:
        tables = folder.tables(source, job.inputs.raw, job.config["seed"], job.inputs.wordings)
    for name, frame in tables.items():
        job.write(name, frame)


if __name__ == "__main__":
    main()
