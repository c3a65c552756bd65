"""How much of a fact comes back when one state of the corrupted run is restored? (ROME Sec. 2)"""

from engram import cli, config, io, models, noise, runtime, tracing


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["prompts", "noise", "weights?"], outputs=["effects", "traced"],
                    keys=["model"])
    settings = config.build(tracing.Config, job.config["trace"], "trace")
    device = runtime.setup(job)
    lm = models.open_lm(job, device)
    values, tensors = io.read_json(job.inputs.noise), {}
    if noise.rule(values["rule"]).needs_text:
        job.inputs.vectors = job.inputs.noise.with_suffix(".safetensors")
        tensors, _ = io.read_tensors(job.inputs.vectors)
    effects, traced = tracing.trace(lm, io.read_table(job.inputs.prompts), noise.load(values, tensors), settings,
                                    job.config["model"]["trace_window"], job.config["seed"])
    job.write("effects", effects)
    job.write("traced", traced)


if __name__ == "__main__":
    main()
