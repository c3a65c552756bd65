"""Language models: the blocks of `models:` in params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from engram.settings import noise_rules
from engram.settings.blocks import Count, Natural, NotNegative, Once, Positive, Share, Some, Text, block, key


def _noise(value: Any) -> int | float | str:
    try:
        noise_rules.rule(value)
    except ValueError:
        raise PydanticCustomError("noise", noise_rules.RULES.replace("{", "{{")) from None
    return value


CORRUPTION = (
    "Corruption of the subject: sigma as a number, or s[f] (f times the standard deviation of the subjects' "
    "embeddings), u<a> (uniform from -a to a), us[f] (uniform, a = f such deviations), m (Gaussian with the moments of "
    "the embeddings of a text), t<df> (Student)."
)
NoiseRule = Annotated[float | str, PlainValidator(_noise, json_schema_input_type=float | str)]


@block
class Training:
    """A GPT-2 that is trained here, on the corpus of the source."""

    layers: Count = key("Number of transformer blocks.")
    width: Count = key("Width of the residual stream; a multiple of heads.")
    heads: Count = key("Attention heads per block.")
    vocabulary: Annotated[int, Field(ge=257)] = key(
        "Entries of the byte-level BPE tokenizer (256 bytes, the end token, merges)."
    )
    context: Count = key("Longest sequence in tokens.")
    steps: Count = key("Optimiser steps.")
    batch: Count = key("Sequences per step.")
    length: Count = key("Tokens per training sequence; at most context.")
    rate: Positive = key("Peak of the one-cycle learning rate.")
    spread: Positive = key("Standard deviation of the initial weights.", default=0.02)
    weight_decay: NotNegative = key("AdamW weight decay.", default=0.01)
    warmup: Share = key("Share of the steps until the peak of the learning rate.", default=0.1)


@block
class ByDataset:
    """Whether only records are edited that the model answers correctly, by dataset."""

    counterfact: bool = key("Of CounterFact.")
    zsre: bool = key("Of zsRE.")


@block
class Records:
    """Which records are edited."""

    count: Count = key("At most so many: the first in the order of the table.")
    only_known: bool | ByDataset = key(
        "Whether only records are edited that the model answers correctly; for all, or by dataset."
    )


@block
class Model:
    """A model: `train`, or `hub` and `revision`, or `gguf`."""

    source: Text = key("The block of `sources` that facts, prompts and text come from.")
    trace_window: Count = key("MLP or attention layers that are restored together.")
    noise: NoiseRule = key(CORRUPTION)
    covariance_layers: Annotated[tuple[Natural, ...], Some, Once] = key(
        "Layers whose second moment of the keys is kept; every edited layer is among them."
    )
    records: Records = key("Which records are edited.")
    items: Annotated[tuple[str, ...], Some, Once] | None = key(
        "Lines of `paper` that are made for this model; without it, all that hold for it.", default=None
    )
    train: Training | None = key(
        "A GPT-2 that is trained here; a model has either `train`, `hub` and `revision`, or `gguf`.", default=None
    )
    hub: Text | None = key(
        "Id of the checkpoint on the model hub, or a folder; a model has either `train`, `hub` and `revision`, or "
        "`gguf`.",
        default=None,
    )
    revision: Annotated[str, StringConstraints(pattern="^([0-9a-f]{40}|main)$")] | None = key(
        "Commit of the checkpoint, 40 hexadecimal digits; main, unpinned, is what is there, and stage checkpoint "
        "writes down which commit that was. Of a folder it says nothing.",
        default=None,
    )
    convert: bool = key(
        "Whether the checkpoint is only to be had as pytorch_model.bin: it is then read once, as data, and kept as "
        "safetensors.",
        default=False,
    )
    gguf: Annotated[str, StringConstraints(pattern=r"\.gguf$")] | None = key(
        "A GGUF file, which is dequantised to `dtype` and kept as safetensors; in data/original/ it is fetched.",
        default=None,
    )
    dtype: Literal["float32", "float16", "bfloat16"] = key("Of the weights as they are loaded.", default="float32")
    devices: Literal["one", "auto"] = key(
        "auto: spread over all GPUs by accelerate; else one, run.device.", default="one"
    )
