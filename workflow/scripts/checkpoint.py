"""What a model is: its files with their hashes, a hash over its tensors, its commit, its licence."""

import sys
from collections.abc import Sequence

from engram.job import arguments, io, schemas
from engram.model import checkpoints, loading, runtime, soundness


def main(argv: Sequence[str] | None = None) -> None:
    """Find the checkpoint, load it strictly, check that it can be computed with, and write its manifest."""
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["weights?", "origin?", "files*?"], keys=["model"], outputs=["manifest"]
    )
    device, block = runtime.setup(job), job.config["model"]
    source = checkpoints.source_of(block)
    folder = job.inputs.weights.parent if job.inputs.weights else checkpoints.folder_at(source)
    about = (
        io.read_json(job.inputs.origin, schemas.ORIGIN)
        if job.inputs.origin
        else {"quantisation": None, "licence": checkpoints.licence_of(folder)}
    )
    checkpoints.files_of(block["name"], folder)  # refused before weights are read
    dtype, devices = loading.DTYPES[block.get("dtype", "float32")], block.get("devices", "one")
    lm = loading.load(block["name"], folder, device, dtype=dtype, devices=devices)
    soundness.check(lm)
    manifest = checkpoints.manifest(
        lm.name, source, folder, lm.model, lm.tokenizer, about["quantisation"], about["licence"]
    )
    job.write("manifest", manifest)
    print(
        f"{lm.name}: {manifest['architecture']}, {manifest['parameters']:,} parameters in {manifest['dtype']}, weights "
        f"{manifest['weights'][:12]}, licence {manifest['licence'] or 'not stated'}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
