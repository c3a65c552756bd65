"""Tables of the report: published numbers stand below a run's."""

import pandas as pd

from engram.report import tables
from fake_tables import beside


def test_published_numbers_stand_below(tmp_path):
    about = {"model": "gpt2-xl", "dataset": "counterfact", "n": 1, "ci": 0.5, "count": 7500}
    frame = pd.DataFrame(
        [
            about | {"method": method, "metric": metric, "value": value}
            for method in ("none", "rome")
            for metric, value in (("ES", 50.0), ("NS", 75.0))
        ]
    )
    frame = beside(frame, "data/published.csv", "rome")
    shown = tables.wide(frame.to_csv(index=False).encode(), "gpt2-xl")
    assert shown.heads == ["Editor", "ES", "NS"] and shown.numeric == [False, True, True]
    cells = {row[0].text: row[1:] for row in shown.rows}
    assert cells["ROME"][0] == ("50.0 (0.5)", 50.0, ("100.0 (0.1)", "-50.0"), True)
    assert cells["ROME"][1] == ("75.0 (0.5)", 75.0, ("75.4 (0.7)", "-0.4"), False)
    assert cells["MEND"][0].text == "–" and cells["MEND"][0].value is None and cells["MEND"][0].more == ("99.1 (0.2)",)
