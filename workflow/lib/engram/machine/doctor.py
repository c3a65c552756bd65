"""Can the active run start on this machine, what will it build, and what will that take? Looked at before anything
starts.

A check that fails says what to do. Nothing is written, and the network is asked for nothing but whether a server
answers.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from engram.machine import devices, estimate, external_inputs
from engram.settings import execution, items, params, sweeps

OK, NOTE, FAILS = "ok", "note", "fails"
LONGEST = 24 * 3600  # seconds that a run may take on a CPU that nobody asked for
PUBLISHED = 100_000  # articles of which the papers take second moments
WIDTH = 16


class Check(NamedTuple):
    """One thing that was looked at: OK, NOTE or FAILS, what was found, what to do about it."""

    name: str
    word: str
    found: str
    advice: str = ""


def main() -> int:
    """Print the checks, the jobs and the estimate of the active run; 0 if it can start. To be called in the
    repository.
    """
    try:
        values = params.load("params.yaml")
    except params.ParamsError as error:
        print(f"params.yaml cannot be used\n{error}", file=sys.stderr)
        return 1
    print(f"active models: {', '.join(values['run']['models'])}\n")
    device = devices.look(values["run"])
    checks = [Check("params.yaml", OK, "valid"), versions(Path("requirements.lock")), *_device(values, device)]
    plans = {}
    for model in values["run"]["models"]:
        seen = sweeps.expanded(items.seen(values, model))
        plans[model] = plan(seen, model)
        checks += needs(seen, model, os.environ)
        checks += _fits(seen, model, plans[model], device)
    checks.append(_disk(values, plans))
    jobs, graph = _jobs()
    checks.append(graph)
    print("\n".join(_lines(checks)))
    print(f"\nto be built: {', '.join(f'{count} {rule}' for rule, count in jobs.items()) or 'nothing'}")
    for model, estimated in plans.items():
        print("\n" + "\n".join(_estimated(model, estimated, device)))
    failed = sum(check.word == FAILS for check in checks)
    print(f"\n{'the run can start' if not failed else f'the run cannot start: {failed} of {len(checks)} checks fail'}")
    return int(failed > 0)


def _lines(checks: list[Check]) -> Iterator[str]:
    for check in checks:
        first, *rest = check.found.splitlines()
        yield f"{check.word:<6}{check.name:<{WIDTH}}{first}"
        yield from (f"{'':<{6 + WIDTH}}{line}" for line in rest)
        if check.advice:
            yield f"{'':<{6 + WIDTH}}-> {check.advice}"


def versions(lock: Path) -> Check:
    """Whether the installed packages are those of the lock; the build of a package (+cpu) does not count."""
    wrong = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.partition("==")
        try:
            installed = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            installed = "not installed"
        if wanted and installed != wanted:
            wrong.append(f"{name} {installed}, locked {wanted}")
    python = ".".join(map(str, sys.version_info[:2]))
    wrong += [f"Python {python}, expected 3.11"] if python != "3.11" else []
    if wrong:
        return Check(
            "versions",
            FAILS,
            "\n".join(wrong[:8] + ([f"and {len(wrong) - 8} more"] if len(wrong) > 8 else [])),
            "rm .venv/.ready and make setup: another version may change numbers",
        )
    return Check("versions", OK, f"as in {lock.name}")


def _device(values: dict, device: devices.Device) -> list[Check]:
    if values["run"]["device"] == "cuda" and device.kind != "cuda":
        return [
            Check(
                "device",
                FAILS,
                "run.device is cuda, and torch sees no CUDA device",
                "a machine with an NVIDIA GPU and torch's CUDA build; or run.device: auto",
            )
        ]
    return [
        Check(
            "device",
            OK,
            f"{device.name}, {device.rate / 1e9:,.0f} GFLOP/s in float32 products (measured now, all else "
            f"running), {device.memory / 2**30:.1f} GiB free",
        )
    ]


class Plan(NamedTuple):
    """What one model's run is estimated to take; no shape: nothing is known of it."""

    shape: estimate.Shape | None
    costs: dict
    memory: float
    originals: int  # bytes of original files
    checkpoint: int  # bytes that are downloaded for the model
    tokens: float = 0.0  # of a prompt


def plan(values: dict, model: str) -> Plan:
    """What the run of one model is estimated to take. `values`: the parameter file as the model sees it (items.seen),
    sweeps expanded.
    """
    block = values["models"][model]
    shape = estimate.shape_of(block, external_inputs.configuration(block))
    size = external_inputs.original_bytes(values, model)
    if shape is None:
        return Plan(None, {}, 0, size, 0)
    download = 0 if "hub" not in block or external_inputs.checkpoint(block) else shape.parameters * estimate.FLOAT
    return Plan(
        shape,
        estimate.costs(values, model, shape, external_inputs.rows(values, model)),
        estimate.memory(values, model, shape),
        size,
        download,
        estimate.prompt_tokens(values, model, shape),
    )


def needs(values: dict, model: str, environment: Mapping[str, str]) -> list[Check]:
    """A check for the checkpoint of a model and each original file that it needs: is it here, or can it be had? and for
    fewer articles than the papers take second moments of.
    """
    checks = []
    for need in external_inputs.needs(values, model, environment):
        word = OK if need.here else (NOTE if need.reachable else FAILS)
        checks.append(Check(model, word, need.text, need.advice if word == FAILS else ""))
    articles = values["covariance"]["articles"]
    if "hub" in values["models"][model] and articles < PUBLISHED:
        checks.append(Check(model, NOTE, f"covariance.articles is {articles:,}; the papers read {PUBLISHED:,}"))
    return checks


def _fits(values: dict, model: str, estimated: Plan, device: devices.Device) -> list[Check]:
    if estimated.shape is None:
        return [
            Check(model, NOTE, "nothing is known of its shape: no estimate until its config.json is in the hub's cache")
        ]
    gib, checks = estimated.memory / 2**30, []
    free = device.together if values["models"][model].get("devices") == "auto" else device.memory
    if estimated.memory > free:
        checks.append(
            Check(
                model,
                FAILS,
                f"needs about {gib:.1f} GiB on {device.name}, {free / 2**30:.1f} GiB are free",
                "a GPU or a machine with more memory; several GPUs with `devices: auto`; a smaller `dtype`",
            )
        )
    else:
        checks.append(Check(model, OK, f"memory: needs about {gib:.1f} GiB"))
    total = sum(estimate.seconds(estimated.costs, device.rate).values())
    if device.kind == "cpu" and total > LONGEST and values["run"]["device"] == "auto":
        checks.append(
            Check(
                model,
                FAILS,
                f"no GPU: on this CPU the run would take about {duration(total)}",
                "a machine with an NVIDIA GPU; or run.device: cpu, if that is wanted",
            )
        )
    return checks


def _disk(values: dict, plans: dict[str, Plan]) -> Check:
    """Room for results, parts of interrupted covariances, original files and the tables made of them."""
    shards = execution.Shards(**values["run"].get("shards", {})).covariance
    needed = sum(
        sum(cost.disk for cost in estimated.costs.values())
        + 2 * estimated.originals
        + estimated.checkpoint
        + (estimated.costs["covariance"].disk * shards if "covariance" in estimated.costs else 0)
        for estimated in plans.values()
    )
    free = shutil.disk_usage(".").free
    text = (
        f"needs about {needed / 2**30:.1f} GiB, covariance in {shards} parts counted; {free / 2**30:.1f} GiB are free"
    )
    return Check(
        "disk",
        OK if needed < free else FAILS,
        text,
        ""
        if needed < free
        else "free some, or fewer run.shards.covariance or covariance_layers; HF_HOME moves checkpoints",
    )


def _jobs() -> tuple[dict[str, int], Check]:
    """Rule -> jobs that Snakemake would run, and whether it could say so."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--dry-run", "--quiet", "host"]
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Building")]
        return {}, Check(
            "snakemake -n", FAILS, "\n".join(lines[-12:]), "what is missing above, or the line of params.yaml"
        )
    table = re.search(r"^-+ +-+\n((?:\w+.*\d+\n)+?)total +\d+$", text, re.MULTILINE)
    rows = (line.split() for line in table[1].splitlines()) if table else ()
    counts = {rule: int(count) for rule, count in rows if not rule.startswith("all") and "@" not in rule}
    return counts, Check("snakemake -n", OK, f"{sum(counts.values())} jobs")


def _estimated(model: str, estimated: Plan, device: devices.Device) -> Iterator[str]:
    if estimated.shape is None:
        return
    shape, times = estimated.shape, estimate.seconds(estimated.costs, device.rate)
    size = f"{shape.parameters / 1e6:,.1f} million weights, {shape.layers} layers, width {shape.width}"
    yield f"estimate for {model}: {size}"
    for stage, cost in estimated.costs.items():
        most = "  at most: training ends when it no longer helps" if stage == "hypernet" else ""
        takes = f"{duration(times[stage]):>12} {cost.disk / 2**20:>10,.1f} MiB"
        yield f"  {stage:<12}{cost.flop:>10.1e} operations {takes}{most}"
    disk = sum(cost.disk for cost in estimated.costs.values()) / 2**20
    yield (
        f"  {'all':<12}{sum(cost.flop for cost in estimated.costs.values()):>10.1e} operations "
        f"{duration(sum(times.values())):>12} {disk:>10,.1f} MiB"
    )
    shares = ", ".join(f"{stage} {estimate.SHARES[stage]:.0%}" for stage in estimated.costs)
    yield "  assumed: everything is built anew; the part of the speed above that a stage reaches, measured on `mini`:"
    yield f"  {shares};"
    yield f"  prompts of {estimated.tokens:.0f} tokens, articles of {estimate.TOKENS['article']}; all steps are made"
    yield "  not counted: dataset, evaluate and figures (minutes), downloads; a factor of two either way is usual"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
