"""The whole of params.yaml: every section with its keys, their types and what they mean.

Editors read the same from workflow/params.schema.json, which this module writes when it is run:
`python -m engram.settings.schema > workflow/params.schema.json`.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from engram.settings.blocks import Count, Natural, Once, Slug, Some, Text, adapter, block, key
from engram.settings.execution import Execution
from engram.settings.items import Item
from engram.settings.models import Model
from engram.settings.sections import (
    CovarianceSection,
    Edit,
    Gradients,
    Known,
    Noise,
    PrefixFamily,
    SampledSection,
    Targets,
    TraceSection,
)
from engram.settings.sources import Originals, Source
from engram.settings.trained_editors import Hypernet

Name = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9.-]*$")]
Torch = Literal[
    "train",
    "convert",
    "checkpoint",
    "known",
    "sampled",
    "noise",
    "prefixes",
    "covariance",
    "trace",
    "gradients",
    "targets",
    "hypernet",
    "edit",
]


@block
class Run(Execution):
    """What is built, how torch runs, and how jobs are carried out."""

    models: Annotated[tuple[str, ...], Some, Once] = key(
        "The active models: blocks of `models` that `snakemake` builds.", kw_only=True
    )
    real: Annotated[tuple[str, ...], Once] = key(
        "Pretrained models that `make real` builds; dvc.yaml has stages of these as well.", default=()
    )
    threads: Count = key("Torch threads of a job; part of the result, so never taken from the machine.", kw_only=True)
    device: Literal["auto", "cpu", "cuda"] = key(
        "Where torch computes; auto is cuda if there is one; part of the result.", kw_only=True
    )
    threads_of: dict[Torch, Count] = key(
        "Torch threads of the jobs of single stages, where not `threads`; part of the result.", default={}
    )


@block
class Prefixes:
    """Context texts that the model samples."""

    families: Annotated[dict[Slug, PrefixFamily], Some] = key(
        "Families of texts, by name; a method names one as `contexts`."
    )


class Method(BaseModel):
    """An editing method: by model, its hyperparameters, which are the fields of Settings in its file."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    method: Text | None = key("The method whose file is used; else the one of this name.", default=None)
    records: Count | None = key("Records that are edited where no item says it.", default=None)


@block
class Parameters:
    """Every number of the workflow."""

    seed: Natural = key("Everything random is drawn from this number and the name of what is drawn.")
    run: Run = key("What is built and how torch runs.")
    fetch: Originals = key("The original files; a source with the path data/original reads them.")
    sources: dict[Name, Source] = key("Where facts, prompts and text come from, by name.")
    models: dict[Name, Model] = key(
        "Language models, by name; trained here (`train`) or published (`hub` and `revision`, or `gguf`)."
    )
    sampled: SampledSection = key("Text that a model writes itself, for sources whose `text` is `own`.")
    known: Known = key("Which prompts and facts the model answers correctly.")
    noise: Noise = key("Size and shape of the corruption; the rule is the model's `noise`.")
    prefixes: Prefixes = key("Context texts that the model samples.")
    covariance: CovarianceSection = key("Second moment of the keys.")
    trace: TraceSection = key("Causal tracing.")
    gradients: Gradients = key("Integrated gradients of some of the traced prompts.")
    targets: Targets = key("Optimised values; the hyperparameters are the method's.")
    hypernet: Hypernet = key("Training of the networks of MEND and KE.")
    edit: Edit = key("Raw outcomes of edited models.")
    methods: dict[Slug, Method] = key(
        "Editing methods (workflow/lib/engram/methods/<name>.py) and their hyperparameters, per model."
    )
    paper: dict[str, Item] = key("Figures and tables, by the name of their code (workflow/figures/<paper>/<item>.py).")


def schema() -> str:
    """The JSON schema of params.yaml, as text."""
    return json.dumps(adapter(Parameters).json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
