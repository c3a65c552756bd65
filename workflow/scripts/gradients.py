"""Integrated gradients of answers: which activations they rest on, by slopes (ROME Fig. 16)."""

from collections.abc import Sequence

from engram.job import arguments, io, schemas
from engram.model import loading, runtime
from engram.settings.blocks import build
from engram.tracing import causal_trace, integrated_gradients, noise


def main(argv: Sequence[str] | None = None) -> None:
    """Attribute the probabilities of traced prompts to activations, and write both tables."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["prompts", "noise", "vectors", "traced", "manifest", "weights?"],
        outputs=["attributions", "attributed"],
        keys=["model"],
    )
    settings = build(integrated_gradients.Config, job.config["gradients"], "gradients")
    trace = build(causal_trace.Config, job.config["trace"], "trace")
    device = runtime.setup(job)
    lm = loading.open_lm(job, device)
    corruption = noise.load(io.read_json(job.inputs.noise, schemas.NOISE), io.read_tensors(job.inputs.vectors)[0])
    tables = integrated_gradients.attributed(
        lm,
        io.read_table(job.inputs.prompts, schemas.KNOWN_PROMPTS),
        io.read_table(job.inputs.traced, schemas.TRACED),
        corruption,
        settings,
        trace,
        job.config["seed"],
    )
    for name, table in zip(("attributions", "attributed"), tables):
        job.write(name, table)


if __name__ == "__main__":
    main()
