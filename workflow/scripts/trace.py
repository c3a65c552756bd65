"""How much of a fact comes back when one state of the corrupted run is restored? (ROME Sec. 2)"""

from collections.abc import Sequence

from engram.job import arguments, io, resuming, schemas
from engram.model import loading, runtime
from engram.settings.blocks import build
from engram.tracing import causal_trace, noise


def main(argv: Sequence[str] | None = None) -> None:
    """Trace the known prompts in one variant, and write the effects and the traced prompts."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["prompts", "noise", "vectors", "manifest", "weights?"],
        outputs=["effects", "traced"],
        keys=["model", "variant"],
    )
    settings = build(causal_trace.Config, job.config["trace"], "trace")
    device = runtime.setup(job)
    lm = loading.open_lm(job, device)
    corruption = noise.load(io.read_json(job.inputs.noise, schemas.NOISE), io.read_tensors(job.inputs.vectors)[0])
    with resuming.store(job) as store:
        tables = causal_trace.trace(
            lm,
            io.read_table(job.inputs.prompts, schemas.KNOWN_PROMPTS),
            corruption,
            settings,
            job.config["model"]["trace_window"],
            job.config["seed"],
            store,
        )
        for name, table in zip(("effects", "traced"), tables):
            table.insert(1, "variant", job.keys.variant)
            job.write(name, table)


if __name__ == "__main__":
    main()
