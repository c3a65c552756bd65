"""The comparison of runs from before and after a column was renamed sees a changed value, and a missing file."""

import pandas as pd

import renamed_columns

ROWS = pd.DataFrame({"case_id": [0, 1], "answer": ["harp", "Rome"], "loc_answer": ["a", "b"]})
PROMPTS = pd.DataFrame({"prompt_id": [0], "attribute": ["harp"]})
RECORD = pd.DataFrame({"column": ["answer", "text"], "text": ["harp", "answer"]})


def write(root, rename: bool):
    for folder in ("data/mini", "results/known/mini", "figures/mini/rome"):
        (root / folder).mkdir(parents=True)
    names = renamed_columns.TARGETS | {"attribute": "target_true"} if rename else {}
    ROWS.rename(columns=names).to_parquet(root / "data/mini/zsre.parquet")
    PROMPTS.rename(columns=names).to_parquet(root / "data/mini/prompts.parquet")
    PROMPTS.rename(columns=names).to_parquet(root / "results/known/mini/prompts.parquet")
    record = RECORD.assign(column=RECORD["column"].replace(names))
    record.to_csv(root / "figures/mini/rome/fig22_zsre_record.csv", index=False)


def test_values_under_new_names(tmp_path, capsys):
    before, after = tmp_path / "before", tmp_path / "after"
    write(before, rename=False)
    write(after, rename=True)
    call = ["--against", str(before), "--run", str(after)]
    assert renamed_columns.main(call) == 0 and capsys.readouterr().out.count("same values") == 4
    ROWS.rename(columns=renamed_columns.TARGETS).assign(loc_target="c").to_parquet(after / "data/mini/zsre.parquet")
    (after / "results/known/mini/prompts.parquet").unlink()
    assert renamed_columns.main(call) == 1
    said = capsys.readouterr().out
    assert "zsre.parquet: differs" in said and "loc_target" in said and "prompts.parquet: missing" in said
    assert renamed_columns.main(["--against", str(after), "--run", str(after)]) == 1, "no run from before"
