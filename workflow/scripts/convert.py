"""A checkpoint that is no safetensors as an ordinary folder: a GGUF file, dequantised, or PyTorch's own format."""

import sys
from collections.abc import Sequence

from engram.job import arguments, lineage
from engram.model import checkpoints, conversion, loading, runtime, saving


def main(argv: Sequence[str] | None = None) -> None:
    """Read the checkpoint as data, and write weights, configurations, tokenizer, and what it was made from."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["files*"],
        keys=["model"],
        outputs=["weights", "model-config", "generation-config", "tokenizer", "tokenizer-config", "origin"],
    )
    runtime.setup(job)
    job.device = "cpu"  # whatever the machine has: nothing is computed elsewhere
    block = job.config["model"]
    name, dtype = block["name"], loading.DTYPES[block.get("dtype", "float32")]
    source = checkpoints.source_of(block)
    if source.kind == "gguf":
        files = job.inputs.files
        model, tokenizer, quantisation, licence = conversion.from_gguf(name, files[0], dtype)
    else:
        folder = checkpoints.folder_at(source, pickled=True)
        files = conversion.pickled_files(name, folder)
        model, tokenizer = conversion.from_pickled(name, folder, dtype)
        quantisation, licence = None, checkpoints.licence_of(folder)
    saving.write(job, model, tokenizer)
    hashes = {file.name: lineage.sha256(file) for file in files}
    job.write("origin", {"model": name, "quantisation": quantisation, "licence": licence, "files": hashes})
    how = f", dequantised from {quantisation}" if quantisation else ""
    print(f"{name}: {', '.join(hashes)} as safetensors{how}", file=sys.stderr)


if __name__ == "__main__":
    main()
