"""The weights of a checkpoint that is no safetensors: a GGUF file, dequantised, or pytorch_model.bin.

IN   the file, or the folder, or nothing of this repository: the hub
OUT  results/convert/{model}/   weights and tokenizer as save_pretrained writes them; origin.json: made of what
"""


def lying(wc):
    """The files of a checkpoint that lies in a folder of this machine, or the GGUF file."""
    return checkpoint_files.of(config["models"][wc.model])


def as_they_are(wc):
    """Sizes and times of those files: a copy with an older date is a change, too."""
    return checkpoint_files.state(config["models"][wc.model])


rule convert:
    """The weights of a checkpoint that is no safetensors."""
    input:
        files=lying,
    output:
        weights="results/convert/{model}/model.safetensors",
        model_config="results/convert/{model}/config.json",
        generation_config="results/convert/{model}/generation_config.json",
        tokenizer="results/convert/{model}/tokenizer.json",
        tokenizer_config="results/convert/{model}/tokenizer_config.json",
        origin="results/convert/{model}/origin.json",
    log:
        "logs/convert/{model}.log",
    benchmark:
        "logs/convert/{model}.tsv"
    threads: threads_of("convert")
    params:
        config=lambda wc: slice_of("convert", wc.model),
        state=as_they_are,
        code=code_of("scripts/convert"),
    shell:
        "python workflow/scripts/convert.py"
        " --files {input.files:q}"
        " --weights {output.weights:q}"
        " --model-config {output.model_config:q}"
        " --generation-config {output.generation_config:q}"
        " --tokenizer {output.tokenizer:q}"
        " --tokenizer-config {output.tokenizer_config:q}"
        " --origin {output.origin:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
