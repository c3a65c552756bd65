"""What one job gets of the parameter file. Pure functions on its contents."""

import json


def threads_of(values: dict, stage: str) -> int:
    """Torch threads of the jobs of a stage."""
    return values["run"].get("threads_of", {}).get(stage, values["run"]["threads"])


def slice_of(values: dict, stage: str, model: str, *keys, torch=True, chosen=None, **more) -> str:
    """The part of the file that one job depends on, as JSON: seed, section, and `keys` of the model's block.

    A stage with a model (`torch`) also depends on how torch runs, on what is loaded and how. `chosen`: which records
    are edited, where that is not the model's number. `more`: sections, or what takes the place of one.
    """
    keys += ("hub", "revision", "dtype", "devices") if torch and stage != "train" else ()
    block = {key: values["models"][model][key] for key in keys if key in values["models"][model]}
    if chosen:
        block["records"] = block["records"] | chosen
    run = {"run": {"threads": threads_of(values, stage), "device": values["run"]["device"]}} if torch else {}
    section = {stage: values[stage]} if stage in values else {}
    return json.dumps({"seed": values["seed"], "model": {"name": model} | block} | run | section | more)
