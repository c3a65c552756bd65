"""One original file: from the first of its places that has it, checked, and linked to where the sources look for it.

The folder that the environment variable ENGRAM_DATA_DIR names is looked into first. HF_HUB_OFFLINE: no network is
touched.
"""

import os
import sys
from pathlib import Path

import pandas as pd

from engram.datasets import fetching
from engram.job import arguments, lineage

STORE = Path(".downloads")  # outlives a run and its settings: what is here and right is not fetched again


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=[], outputs=["original", "receipt", "records"], keys=["name"])
    section, name = job.config["fetch"], job.keys.name
    try:
        found = fetching.obtain(fetching.original(section, name), fetching.where(section, STORE, os.environ))
    except fetching.NotFound as error:
        sys.exit(str(error))
    link = job.outputs.original.with_name(f".{name}.link")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(found.path.resolve(), link.parent.resolve()))
    job.write("original", link)
    print(f"{name}: {found.count:,} records, from {found.place}", file=sys.stderr)
    job.write(
        "receipt",
        {
            "name": name,
            "place": found.place,
            "records": found.count,
            "bytes": found.path.stat().st_size,
            "sha256": lineage.sha256(found.path),
        },
    )
    job.write(
        "records", pd.DataFrame(found.records, columns=["id", "sha256"]).assign(name=name)[["name", "id", "sha256"]]
    )


if __name__ == "__main__":
    main()
