"""Tables that stand beside published numbers, through the command line of their items: from fake summaries and
facts.
"""

import json

import pandas as pd
import pytest

from engram.job import lineage
from fake_tables import load_item, numbers_of, write

METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS", "EA", "PA", "NA")


def summary(method, value, model="gpt-j-6b", n="1", after=1, dataset="counterfact"):
    return pd.DataFrame(
        [
            {
                "model": model,
                "dataset": dataset,
                "method": method,
                "n": n,
                "after": after,
                "metric": metric,
                "value": value + place,
                "ci": None if metric == "S" else 0.5,
                "count": 200,
            }
            for place, metric in enumerate(METRICS)
        ]
    )


def run(item, fakes, folder, inputs, model="gpt-j-6b", numbers=True):
    """Csv and md of a table; `inputs`: the flag of its tables and the tables."""
    flag, tables = inputs
    paths = [folder / f"{index}.{'parquet' if flag == '--facts' else 'csv'}" for index in range(len(tables))]
    for path, frame in zip(paths, tables):
        write(path, frame, flag.strip("-"))
    out = {suffix: folder / f"{item}.{suffix}" for suffix in ("csv", "md")}
    flags = [str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)]
    beside = ["--published", str(fakes.root / "data" / "published.csv")] if numbers else []
    load_item(item).main(
        [flag, *map(str, paths), *beside, *flags, "--model", model, "--config", json.dumps({"model": {"name": model}})]
    )
    return pd.read_csv(out["csv"], keep_default_na=False, na_values={"value": [""], "published": [""]}), out


def cells(path, name, follows=None):
    """The cells of the row `name`, or of the row of that name that comes next after the row `follows`."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in path.read_text().splitlines()
        if line[:1] == "|"
    ]
    start = next(index for index, line in enumerate(lines) if line[0] == follows) if follows else 0
    return next(line[1:] for line in lines[start:] if line[0] == name)


def test_table4_beside_the_paper(fakes, tmp_path):
    """Every number stands under its head, whatever their order in the files; the difference by hand."""
    tables = [summary("r-rome", 50.0), summary("rome", 91.0), summary("ft", 20.0), summary("none", 10.0)]
    frame, out = run("rome/table4_counterfact", fakes, tmp_path, ("--summaries", [one.iloc[::-1] for one in tables]))
    heads = cells(out["md"], "Editor")
    ours, theirs, change = (
        dict(zip(heads, cells(out["md"], name, "ROME"))) for name in ("ROME", "– published", "– difference")
    )
    assert (ours["S"], theirs["S"], change["S"]) == ("91.0", "91.5", "-0.5"), "S has no interval, and is never bold"
    assert (ours["NM"], theirs["NM"], change["NM"]) == ("97.0 (0.5)", "5.2 (0.5)", "**+91.8**")
    assert (theirs["GE"], theirs["RS"]) == ("620.1 (0.9)", "43.0 (0.6)")
    marked = dict(zip(heads, cells(out["md"], "– published", "FT")))
    assert [head for head, cell in marked.items() if cell.endswith(" †")] == ["S", "PS"]
    assert dict(zip(heads, cells(out["md"], "MEND, published alone")))["PS"] == "53.6 (1.9)"
    text = out["md"].read_text()
    assert "| R-ROME | 50.0 |" in text and text.count("– published") == 3
    assert "Records: 200. In" in text and "Published: ROME Table 4, 2,000 records. Differences in bold" in text
    assert "† FT, FT+L: S, PS: cannot be reproduced, read from another run" in text
    by = frame.set_index(["method", "metric"])
    assert list(dict.fromkeys(frame["method"])) == ["none", "ft", "ft-l", "mend", "rome", "r-rome"], (
        "in the paper's order"
    )
    assert by.loc[("rome", "ES"), ["overlap", "note", "reproducible"]].tolist() == ["no", "", "yes"]
    assert by.loc[("ft", "PS"), "reproducible"] == "no"
    assert (by["value"] - by["published"]).dropna().round(4).tolist() == [
        round(float(value), 4) for value in by["difference"] if value != ""
    ]


def test_the_published_file_stands_in_the_lineage(fakes, tmp_path):
    _, out = run(
        "rome/table1_zsre",
        fakes,
        tmp_path,
        ("--summaries", [summary("rome", 60.0, "gpt2-large", dataset="zsre")]),
        "gpt2-large",
    )
    record = json.loads(lineage.record_path(out["md"]).read_text())
    assert [one["name"] for one in record["inputs"]] == ["summaries", "published"]
    assert cells(out["md"], "– published") == ["99.6 (0.1)", "84.7 (0.6)", "22.5 (0.5)"], "ROME Table 6"
    assert "ROME Table 6, 10,000 records" in out["md"].read_text()


@pytest.mark.parametrize(
    ("item", "dataset", "model"),
    [
        ("rome/table4_counterfact", "counterfact", "mini"),
        ("memit/table2_counterfact", "counterfact", "mini"),
        ("memit/table1_zsre", "zsre", "mini"),
    ],
)
def test_a_model_of_no_paper_has_its_own_numbers_alone(item, dataset, model, fakes, tmp_path):
    tables = [summary("none", 10.0, model, dataset=dataset), summary("rome", 60.0, model, dataset=dataset)]
    frame, out = run(item, fakes, tmp_path, ("--summaries", tables), model)
    assert "published" not in out["md"].read_text().lower() and "published" not in frame
    with_file = [path.read_bytes() for path in out.values()]
    _, without = run(item, fakes, tmp_path, ("--summaries", tables), model, numbers=False)
    assert [path.read_bytes() for path in without.values()] == with_file


def test_facts_in_turn_are_read_at_the_end(fakes, tmp_path):
    """The tables of MEMIT take the last of the readings along the way; one of fewer facts than the paper's is not
    compared.
    """
    turns = pd.concat(
        [summary("rome", value, n="10000by1", after=after) for after, value in ((1, 90.0), (10000, 40.0))]
    )
    tables = [
        summary("none", 15.0),
        turns,
        summary("memit", 80.0, n="10000", after=10000),
        summary("mend", 30.0, n="100", after=100),
    ]
    frame, out = run("memit/table2_counterfact", fakes, tmp_path, ("--summaries", tables))
    assert cells(out["md"], "ROME")[0] == "40.0" and cells(out["md"], "– published", "ROME")[0] == "50.3"
    assert cells(out["md"], "– published", "MEMIT")[-1] == "40.1 (0.2)"
    text = out["md"].read_text()
    assert "MEND: published for 10,000 facts." in text and "All: on MultiCounterFact" in text
    assert cells(out["md"], "FT-W, published alone")[0] == "67.6"
    value = frame.set_index(["method", "metric"])["value"]
    assert value["rome", "RS"] == 48.0 and pd.isna(value["ft-w", "RS"])
    with pytest.raises(ValueError, match="occur twice"):
        numbers_of(load_item("rome/table4_counterfact"), {"summaries": turns})


def facts():
    """Two relations; the second has one record twice but for its id."""
    rows, kinds = [], [("P1", "Ann", "x"), ("P1", "Bob", "y"), ("P2", "Ann", "x"), ("P2", "Ann", "x")]
    for case, (relation, subject, new) in enumerate(kinds):
        rows.append(
            {
                "case_id": case,
                "relation_id": relation,
                "prompt": "{} likes",
                "subject": subject,
                "target_new": new,
                "target_new_id": "Q1",
                "target_true": "z",
                "target_true_id": "Q2",
                "paraphrase_prompts": [f"{subject} a", f"{subject} b"],
                "neighborhood_prompts": ["n", "n", f"m{case}"],
                "attribute_prompts": [] if case else ["o"],
                "generation_prompts": ["g"] * 5,
            }
        )
    return pd.DataFrame(rows)


def test_composition_counts_what_is_distinct(fakes, tmp_path):
    frame, out = run("rome/table2_composition", fakes, tmp_path, ("--facts", [facts()]), "mini")
    value = frame.set_index(["row", "column"])["value"]
    assert value["relations", "total"] == 2
    assert value.loc["records"].tolist() == [4, 2, 1]
    assert value.loc["subjects"].tolist() == [2, 1.5, 1]
    assert value.loc["statements"].tolist() == [2, 1.5, 1], "`Ann likes` is one statement, of two relations"
    assert value.loc["paraphrase prompts"].tolist() == [4, 3, 2]
    assert value.loc["neighborhood prompts"].tolist() == [5, 3, 2]
    assert value.loc["attribute prompts"].tolist() == [1, 0.5, 0.25], "a record may have none"
    assert value.loc["generation prompts"].tolist() == [1, 1, 1]
    assert cells(out["md"], "Subjects") == ["2", "1.5", "1"] and "published" not in out["md"].read_text()


def test_composition_beside_the_paper(fakes, tmp_path):
    frame, out = run("rome/table2_composition", fakes, tmp_path, ("--facts", [facts()]), "gpt2-xl")
    assert cells(out["md"], "Generation prompts") == ["1", "62,346", "1", "1,841", "1", "3"]
    assert cells(out["md"], "Relations") == ["2"] + ["–"] * 5
    assert frame.set_index(["row", "column"]).loc[("records", "total"), "difference"] == "-21915"


def tracing(fakes, folder, model):
    traced = fakes.traced(prompts=6)
    effects = fakes.effects(traced, layers=48)
    tables = {"effects": effects, "traced": traced}
    for name, frame in tables.items():
        write(folder / f"{name}.parquet", frame, name)
    out = {suffix: folder / f"tracing.{suffix}" for suffix in ("csv", "md")}
    flags = [str(word) for name in tables for word in (f"--{name}", folder / f"{name}.parquet")]
    flags += [str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)]
    load_item("rome/table_tracing").main(
        [*flags, "--published", str(fakes.root / "data/published.csv"), "--model", model]
    )
    return pd.read_csv(out["csv"]).set_index(["row", "column"]), out["md"].read_text(), tables


def test_tracing_beside_the_text_of_the_paper(fakes, tmp_path):
    """The paper's layers beside the largest effect here; what the paper says of no layer stands beside the largest."""
    frame, text, tables = tracing(fakes, tmp_path, "gpt2-xl")
    at = frame.loc[("hidden, last subject token", "indirect effect, layer 15")]
    raw = tables["effects"].merge(tables["traced"][["prompt_id", "subject_end"]], on="prompt_id")
    raw = raw[(raw["site"] == "hidden") & (raw["layer"] == 15) & (raw["token"] == raw["subject_end"] - 1)]
    assert at["value"] == pytest.approx(100 * (raw["score"].mean() - tables["traced"]["corrupted"].mean()), rel=1e-4)
    assert at["published"] == 8.7 and at["difference"] == pytest.approx(at["value"] - 8.7, rel=1e-4)
    assert frame["published"].notna().sum() == 12, "all that the text says"
    largest = frame.loc["attn, last subject token"]
    assert largest[largest["published"].notna()]["published"].tolist() == [1.6]
    assert "| Prompts | clean |" in text and "| 27 |" in text and "Published: ROME text on Fig. 2" in text


def test_tracing_of_a_model_of_no_paper_has_its_own_numbers_alone(fakes, tmp_path):
    frame, text, _ = tracing(fakes, tmp_path, "mini")
    assert "published" not in frame and "Published" not in text and frame["value"].notna().all()
