"""How jobs are carried out: the keys of `run:` in params.yaml that change no byte of any artifact.

They are no part of a job's settings, so that changing them runs nothing again, and no lineage record holds them. A job
finds them in the environment, where the Snakefile puts them; a script that is called by hand has the defaults.
"""

import json
import os
from collections.abc import Mapping

from pydantic import ValidationError

from engram.settings.blocks import Count, Natural, NotNegative, Positive, adapter, block, fields, key

VARIABLE = "ENGRAM_RUN"


@block
class Shards:
    """Parts of a job's work, after each of which an interrupted run goes on. No result changes."""

    covariance: Count = key("Parts of the text; one where dtype is float32.", default=4)
    trace: Count = key("Parts of the prompts.", default=20)
    targets: Count = key("Parts of the facts.", default=4)


@block
class Patience:
    """How patiently servers are asked for original files."""

    attempts: Count = key("How often a server is asked that fails in a way that may pass.", default=6)
    timeout: Positive = key("Seconds without a byte after which a connection is given up.", default=60)
    pause: NotNegative = key("Seconds before the second attempt; doubled for each further.", default=2)


@block
class Execution:
    """The keys of `run:` on which no artifact depends."""

    preload: Natural = key(
        "Without a GPU, jobs from which on a run loads the libraries once for all; 0: each job its own.", default=0
    )
    shards: Shards = key("Parts after which an interrupted run goes on, by stage.", default=Shards())
    fetch: Patience = key("How patiently servers are asked for original files.", default=Patience())


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
