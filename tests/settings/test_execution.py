"""How jobs are carried out: handed over by the environment, and part of no job's settings."""

import json
from typing import get_args

import pytest
import yaml

from engram.settings import execution, items, schema, slices, sweeps
from repository import ROOT

VALUES = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES = get_args(schema.Torch)


def test_what_the_snakefile_exports_is_what_a_job_reads():
    changed = VALUES | {"run": VALUES["run"] | {"preload": 3, "shards": {"trace": 7}, "fetch": {"attempts": 1}}}
    found = execution.current(execution.exported(changed))
    assert (found.preload, found.shards.trace, found.fetch.attempts) == (3, 7, 1)
    assert found.shards.covariance == execution.Shards().covariance, "what is not said has its default"
    assert execution.current({}) == execution.Execution(), "a script that is called by hand"
    with pytest.raises(ValueError, match="ENGRAM_RUN is not as the Snakefile writes it"):
        execution.current({execution.VARIABLE: json.dumps({"shards": {"trace": 0}})})


def test_a_change_of_it_changes_no_jobs_settings():
    run = {key: value for key, value in VALUES["run"].items() if key not in ("preload", "shards", "fetch")}
    assert set(VALUES["run"]) - set(run) == {"preload", "shards", "fetch"}, "the shipped file says all of them"
    for stage in STAGES:
        one, other = (
            slices.slice_of(sweeps.expanded(items.seen(values, "mini")), stage, "mini", "records")
            for values in (VALUES, VALUES | {"run": run})
        )
        assert one == other and one.keys == other.keys
        assert not {"run", "run.preload", "run.shards", "run.fetch"} & set(one.keys)
