"""Train a small model from the corpus of its source (models with a `train:` block).

IN   data/{model}/corpus.parquet
OUT  results/train/{model}/   weights and tokenizer as save_pretrained writes them; loss.csv: step, loss
"""


rule train:
    """The weights and the tokenizer of a model that has no published checkpoint."""
    input:
        corpus=rules.dataset.output.corpus,
    output:
        weights="results/train/{model}/model.safetensors",
        model_config="results/train/{model}/config.json",
        generation_config="results/train/{model}/generation_config.json",
        tokenizer="results/train/{model}/tokenizer.json",
        tokenizer_config="results/train/{model}/tokenizer_config.json",
        loss="results/train/{model}/loss.csv",
    log:
        "logs/train/{model}.log",
    benchmark:
        "logs/train/{model}.tsv"
    threads: threads_of("train")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("train", wc.model, "train"),
        code=code_of("scripts/train"),
    shell:
        "python workflow/scripts/train.py"
        " --corpus {input.corpus:q}"
        " --weights {output.weights:q}"
        " --model-config {output.model_config:q}"
        " --generation-config {output.generation_config:q}"
        " --tokenizer {output.tokenizer:q}"
        " --tokenizer-config {output.tokenizer_config:q}"
        " --loss {output.loss:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
