"""The whole workflow, in the order of the data. Every number is in params.yaml."""

from snakemake.io import strip_wildcard_constraints

from engram.settings import params

params.check("params.yaml")


configfile: "params.yaml"
config["run"]["models"] = params.active(config)


include: "workflow/rules/common.smk"
include: "workflow/rules/preload.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/checkpoint.smk"
include: "workflow/rules/sampled.smk"
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


OUTPUTS = {}  # rule -> its outputs; beside every artifact its record of lineage, which is made again with it

for rule_ in list(workflow.rules):
    made = [strip_wildcard_constraints(path) for path in rule_.output]
    records = [str(record_path(path)) for path in made]
    rule_.set_output(*records)
    OUTPUTS[rule_.name] = [*made, *records]


rule all:
    """What the items of every active model (run.models) show, and all that it is made from."""
    default_target: True
    input:
        [files_of(stage, model) for model in MODELS for stage in stages.STAGES],


for stage in stages.STAGES:

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


for model in MODELS:
    for row in wanted(model).get("paper", []):

        rule:
            name:
                f"{row['paper']}-{row['item']}@{model}"
            input:
                files_of("paper", model, **row),
