"""A real run small enough for minutes: every stage of the default run, on a world of twenty people."""

from pathlib import Path

import yaml

import sandboxes

VARIANTS = ("main", "severed")
ITEMS = (
    "rome/fig2_average_traces",
    "rome/fig3_severed",
    "rome/fig16_gradients",
    "rome/fig21_counterfact_record",
    "rome/table4_counterfact",
    "rome/table1_zsre",
)  # one of every stage
DATA = {"records": 20, "validation": 6}
TRAINING = {"steps": 20, "interval": 10}
SMALL = {  # of params.yaml
    ("sources", "world"): {"subjects": 40, "relations": 4, "objects": 4, "documents": 240, "articles": 40},
    ("models", "mini"): {"records": {"count": 6, "only_known": False}},
    ("models", "mini", "train"): {
        "width": 64,
        "heads": 2,
        "vocabulary": 420,
        "context": 64,
        "steps": 120,
        "batch": 8,
        "length": 48,
        "rate": 0.01,
        "spread": 0.1,
    },
    ("covariance",): {"articles": 40},
    ("trace",): {"prompts": 12, "samples": 2},
    ("gradients",): {"points": 4, "count": 2},
    ("hypernet", "mend", "mini", "data"): DATA,
    ("hypernet", "mend", "mini", "training"): TRAINING,
    ("hypernet", "ke", "mini", "data"): DATA,
    ("hypernet", "ke", "mini", "training"): TRAINING,
    ("edit",): {"generation_tokens": 24},
    ("run",): {"threads": 1, "threads_of": {}, "device": "cpu", "preload": 12},
}


def values() -> dict:
    """params.yaml with the few edits of the workflow's tests and small numbers."""
    found = yaml.safe_load(sandboxes.small_params())
    for place, changes in SMALL.items():
        block = found
        for key in place:
            block = block[key]
        block.update(changes)
    found["trace"]["variants"] = {name: found["trace"]["variants"][name] for name in VARIANTS}
    found["paper"] = {item: found["paper"][item] for item in ITEMS}
    return found


def sandbox(path: Path, real: bool = True, params: dict | None = None) -> sandboxes.Sandbox:
    """A repository in `path` with small params and the scripts that compute (`real`) or stand-ins, nothing built."""
    made, found = sandboxes.make_sandbox(path, real), params or values()
    found["run"]["preload"] *= real  # stand-ins import nothing
    (path / "params.yaml").write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
    made.git("commit", "--all", "--quiet", "--message", "small params")
    return made
