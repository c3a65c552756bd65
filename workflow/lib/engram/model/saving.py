"""A model written as an ordinary Hugging Face folder, file by file as outputs of a job."""

import tempfile
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engram.job.arguments import Job

FILES = {  # output of a job -> file of the folder
    "weights": "model.safetensors",
    "model_config": "config.json",
    "generation_config": "generation_config.json",
    "tokenizer": "tokenizer.json",
    "tokenizer_config": "tokenizer_config.json",
}


def write(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the outputs FILES of `job`: one safetensors file, configurations, tokenizer.

    A template for chats stays in the configuration of the tokenizer, so that the names of the files are always these.
    """
    stage = job.outputs.weights.parent.parent  # on the same disk, for files are moved, and in no artifact's folder
    stage.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stage, prefix=".saving-") as folder:
        model.save_pretrained(folder, max_shard_size="1TB")
        tokenizer.save_pretrained(folder, save_jinja_files=False)
        for name, file in FILES.items():
            Path(folder, file).chmod(0o644)  # safetensors lets nobody else read
            job.write(name, Path(folder, file))
