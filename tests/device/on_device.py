"""What computes (but stage `train` and KE), once on the CPU and once on a simulated other device, in a process of its
own.

    python tests/device/on_device.py stages <folder> <folder of a chain> | editors | architectures | hypernet <folder>

Prints what was compared; an exception, or numbers that differ by more than rounding, end it with a status that is not
0.
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / path) for path in ("tests/device", "tests/support", "workflow/lib")]
import pandas as pd
import simulated
import torch

import evaluated_records
import method_cases
import toy
from engram.editing import covariance, editor, outcomes
from engram.editing.values import targets
from engram.job import io
from engram.model import block_parts, known, runtime
from engram.model.delta import Delta, applied
from engram.settings import methods, objective

targets.BATCH[simulated.DEVICE.type] = 3
HERE = ("cpu", simulated.DEVICE.type)
TOLERANCE = 1e-3  # of the norm: float32, and a chain of optimisations
LOOSE = {
    "attn-edit",
    "ft-w",
    "alphaedit",
}  # Adam makes a step of the rounding of a slope; a threshold among eigenvalues
NO_LSTM = {"ke"}  # whose LSTM has no operation for a device of Python


def models_of(kind: str):
    for where in HERE:
        found = toy.lm(kind)
        yield replace(found, model=found.model.to(where))


def close(one: torch.Tensor, other: torch.Tensor, what: str) -> None:
    one, other = one.cpu(), other.cpu()
    error = float((one - other).norm() / one.norm().clamp(min=1e-9))
    assert error < TOLERANCE, f"{what}: {error:.1e}"


def same(one: pd.DataFrame, other: pd.DataFrame, what: str) -> None:
    for name in one:
        if pd.api.types.is_float_dtype(one[name]):
            worst = ((one[name] - other[name]).abs() / one[name].abs().clip(lower=1)).max()
            assert worst < TOLERANCE or one.empty, f"{what}, {name}: {worst:.1e}"
        else:
            assert one[name].astype(str).tolist() == other[name].astype(str).tolist(), f"{what}, {name}"


def on(device: str):
    """Let stage scripts compute there; what is trained for the chain itself is always trained here."""
    start = runtime.start
    runtime.start = lambda settings: (start(settings), torch.device(device))[1]
    return lambda: setattr(runtime, "start", start)


def stages(folder: str, chain: str) -> None:
    """Every stage script on a small world, beside a chain made on the CPU; the tables that hold no optimised value
    agree.
    """
    import stage_chain

    call, here = stage_chain.call, stage_chain.read(Path(chain))

    def there(name, paths, *args, **keys):
        if name == "train":  # on the CPU alone: save_pretrained asks for addresses of storages
            shutil.copytree(here["weights"].parent, Path(folder, "train"))
            return
        back = on(simulated.DEVICE.type)
        try:
            call(name, paths, *args, **keys)
        finally:
            back()

    stage_chain.call = there
    found = stage_chain.chain(Path(folder), draw=False)
    compared = [name for name, path in found.items() if path.suffix == ".parquet" and "rome" not in name]
    for name in compared:
        same(io.read_table(here[name]), io.read_table(found[name]), name)
    print(f"{len(found)} artifacts, {len(compared)} tables compared")


def editors() -> None:
    """Every file in methods/, with several facts where it takes them; what the edited models say."""
    for name in sorted(set(methods.files()) - NO_LSTM):
        found = []
        for model in models_of("gpt2"):
            settings = method_cases.settings_of(name)
            aids = method_cases.aids_of(model, name, settings)
            method, settings = editor.load(name), method_cases.fitted(name, settings, aids)
            deltas = [method.edit(model, method_cases.FACTS, settings, aids)] * 3
            if hasattr(method, "remember"):
                with applied(model, deltas[0]):
                    method.remember(model, method_cases.FACTS, settings, aids)
            if hasattr(method, "edit_each"):
                deltas = method.edit_each(model, method_cases.FACTS, settings, aids)
            found.append(
                (
                    deltas,
                    outcomes.outcomes(
                        model, evaluated_records.RECORDS, deltas, "counterfact", evaluated_records.config(), (0, name)
                    ),
                )
            )
        for one, other in zip(*(deltas for deltas, _ in found)) if name not in LOOSE else ():
            for key in one.parts:
                close(one.dense(key), other.dense(key), f"{name}, {key}")
        same(found[0][1]["scores"], found[1][1]["scores"], name)
        print(name)


def architectures() -> None:
    """Log-probabilities and texts of edited models, second moments, optimised values."""
    for kind in toy.ARCHITECTURES:
        found = []
        for model in models_of(kind):
            changes = [
                Delta({key: tuple(side.to(model.device) for side in part) for key, part in delta.parts.items()})
                for delta in evaluated_records.deltas(toy.lm(kind))
            ]
            tables = outcomes.outcomes(
                model, evaluated_records.RECORDS, changes, "counterfact", evaluated_records.config(), (0, kind)
            )
            settings = objective.Settings(
                layer=1, steps=3, site="mlp" if block_parts.has_norm_after_mlp(model) else "hidden"
            )
            found.append(
                (
                    tables,
                    covariance.second_moments(model, [0, 1], toy.TEXT, 40, 256),
                    targets.optimise(model, method_cases.FACTS, ["{}", "Rome. {}"], settings, batch=2),
                    known.records(model, evaluated_records.ZSRE, "zsre"),
                )
            )
        (tables, moments, values, answers), other = found
        same(tables["scores"], other[0]["scores"], kind)
        same(tables["texts"], other[0]["texts"], kind)
        close(moments[1].total, other[1][1].total, kind)
        close(values.value, other[2].value, kind)
        same(answers, other[3], kind)
        print(kind)


def hypernet(folder: str) -> None:
    """Training of MEND from the command line."""
    import editor_runs

    given = editor_runs.inputs_in(Path(folder, "inputs"))
    for task in ("gen", "facts"):
        logs = []
        for where in HERE:
            back, place = on(where), Path(folder, task, where)
            place.mkdir(parents=True)
            os.chdir(place)
            logs.append(pd.read_csv(editor_runs.run(given, place, "mend-x", editor_runs.section("mend", task))["loss"]))
            back()
        same(*logs, f"mend, {task}")
        print(task)


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    globals()[sys.argv[1]](*sys.argv[2:])
