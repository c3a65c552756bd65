"""The whole workflow, in the order of the data. Every number is in params.yaml."""

from engram.settings import params

params.check("params.yaml")


configfile: "params.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/preload.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/known.smk"
include: "workflow/rules/noise.smk"
include: "workflow/rules/prefixes.smk"
include: "workflow/rules/covariance.smk"
include: "workflow/rules/trace.smk"
include: "workflow/rules/gradients.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/hypernet.smk"
include: "workflow/rules/edit.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/paper.smk"


rule all:
    """Every artifact of every active model (run.models), up to the figures and tables of the papers."""
    default_target: True
    input:
        [files_of(stage, model) for model in MODELS for stage in STAGES],


for stage in STAGES:

    rule:
        name:
            f"all_{stage}"
        input:
            [files_of(stage, model) for model in MODELS],

    for model in MODELS:

        rule:
            name:
                f"{stage}@{model}"
            input:
                files_of(stage, model),
