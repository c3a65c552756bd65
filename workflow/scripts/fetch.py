"""One original file: from the first of its places that has it, checked, and linked to where the sources look for it.

The folder that the environment variable ENGRAM_DATA_DIR names is looked into first. HF_HUB_OFFLINE: no network is
touched, unless pip, which brings what lies in Python packages, is set to use one.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engram.datasets import fetching
from engram.job import arguments, lineage, schemas

STORE = Path(".downloads")  # outlives a run and its settings: what is here and right is not fetched again


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch and check one original file, and write a link to it, a receipt and the hashes of its records."""
    job = arguments.parse(__file__, __doc__, argv, inputs=[], outputs=["original", "receipt", "records"], keys=["name"])
    section, name = job.config["fetch"], job.keys.name
    try:
        file = fetching.obtain(fetching.original(section, name), fetching.where(section, STORE, os.environ))
    except fetching.NotFound as error:
        sys.exit(str(error))
    link = job.outputs.original.with_name(f".{name}.link")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(file.path.resolve(), link.parent.resolve()))
    job.write("original", link)
    print(f"{name}: {file.count:,} records, from {file.place}", file=sys.stderr)
    job.write(
        "receipt",
        {
            "name": name,
            "place": file.place,
            "records": file.count,
            "bytes": file.path.stat().st_size,
            "sha256": lineage.sha256(file.path),
        },
    )
    job.write("records", schemas.FETCHED.frame([{"name": name, **record} for record in file.records]))


if __name__ == "__main__":
    main()
