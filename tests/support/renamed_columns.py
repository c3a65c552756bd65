"""Shows that columns which were renamed hold the values that they held: compares two finished runs.

    python tests/support/renamed_columns.py --against OTHER_RUN

OTHER_RUN is a checkout with a finished run from before. Of every file in RENAMED, the table there, its columns renamed,
must be the table here; in a figure's csv that prints names of columns, the names. Prints a line per file; the exit
status is 0 if all are the same, and 1 if one differs or is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

TARGETS = {"answer": "target_true", "loc_answer": "loc_target"}
RENAMED = {  # files of a run -> old name of a column -> new name
    "data/*/zsre.parquet": TARGETS,
    "data/*/prompts.parquet": {"attribute": "target_true"},
    "results/known/*/prompts.parquet": {"attribute": "target_true"},
}
PRINTED = {"figures/*/rome/fig22_zsre_record.csv": TARGETS}  # names that stand in column `column`


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the run in the working folder with another one; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="folder of the run from before")
    parser.add_argument("--run", type=Path, default=Path("."), help="folder of the run from after (default: this one)")
    args = parser.parse_args(argv)
    wrong = 0
    for pattern, names in {**RENAMED, **PRINTED}.items():
        paths = sorted({path.relative_to(root) for root in (args.against, args.run) for path in root.glob(pattern)})
        if not paths:
            print(f"{pattern}: no such file in either run")
        for path in paths or [Path(pattern)]:
            verdict = compare(args.against / path, args.run / path, names, printed=pattern in PRINTED)
            wrong += verdict != "same values"
            print(f"{path}: {verdict} ({', '.join(f'{old} is {new}' for old, new in names.items())})")
    return int(wrong > 0)


def compare(before: Path, after: Path, names: dict[str, str], printed: bool) -> str:
    """`same values`, or what differs between two files of one table; `printed`: the names are values of a csv."""
    missing = [str(path) for path in (before, after) if not path.is_file()]
    if missing:
        return f"missing: {', '.join(missing)}"
    if printed:
        old, new = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (before, after))
        old["column"] = old["column"].replace(names)
    else:
        old, new = (pd.read_parquet(path) for path in (before, after))
        if not set(names) <= set(old):
            return f"the run from before has no column {sorted(set(names) - set(old))[0]!r}"
        old = old.rename(columns=names)
    try:
        pd.testing.assert_frame_equal(old, new, check_exact=True)
    except AssertionError as error:
        return f"differs: {' '.join(str(error).split())[:200]}"
    return "same values"


if __name__ == "__main__":
    sys.exit(main())
