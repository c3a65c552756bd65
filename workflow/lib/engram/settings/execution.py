"""How jobs are carried out: the keys of `run:` in params.yaml that change no byte of any artifact.

They are no part of a job's settings, so that changing them runs nothing again, and no lineage record holds them. A job
finds them in the environment, where the Snakefile puts them; a script that is called by hand has the defaults.
"""

import json
import os
from collections.abc import Mapping

from pydantic import Field, ValidationError

from engram.settings.blocks import Count, Natural, NotNegative, Positive, adapter, block, fields

VARIABLE = "ENGRAM_RUN"


@block
class Shards:
    """Parts of a job's work, after each of which an interrupted run goes on. No result changes."""

    covariance: Count = Field(default=4, description="Parts of the text; one where dtype is float32.")
    trace: Count = Field(default=20, description="Parts of the prompts.")
    targets: Count = Field(default=4, description="Parts of the facts.")


@block
class Patience:
    """How patiently servers are asked for original files."""

    attempts: Count = Field(default=6, description="How often a server is asked that fails in a way that may pass.")
    timeout: Positive = Field(default=60, description="Seconds without a byte after which a connection is given up.")
    pause: NotNegative = Field(default=2, description="Seconds before the second attempt; doubled for each further.")


@block
class Execution:
    """The keys of `run:` on which no artifact depends."""

    preload: Natural = Field(
        default=0,
        description="Without a GPU, jobs from which on a run loads the libraries once for all; 0: each job its own.",
    )
    shards: Shards = Field(default=Shards(), description="Parts after which an interrupted run goes on, by stage.")
    fetch: Patience = Field(default=Patience(), description="How patiently servers are asked for original files.")


def exported(values: dict) -> dict[str, str]:
    """The environment variable that jobs read, for the contents of params.yaml."""
    known = fields(Execution)
    return {VARIABLE: json.dumps({key: value for key, value in values["run"].items() if key in known})}


def current(environment: Mapping[str, str] = os.environ) -> Execution:
    """How this process is to work: as the environment says, else by the defaults. ValueError for a wrong variable."""
    try:
        return adapter(Execution).validate_json(environment.get(VARIABLE, "{}"))
    except ValidationError as error:
        raise ValueError(f"the environment variable {VARIABLE} is not as the Snakefile writes it: {error}") from None
