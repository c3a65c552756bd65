"""Many jobs on a CPU: the libraries are loaded once, not by each of them. See engram.machine.preload."""

from engram.machine import preload


onstart:
    jobs = sum(1 for job in workflow.dag.needrun_jobs())
    if not GPU and 0 < config["run"].get("preload", 0) <= jobs:
        preload.start(Path(".snakemake/preloaded") / f"{os.getpid()}.socket")
