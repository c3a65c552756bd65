"""Language models: the blocks of `models:` in params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from engram.settings import noise_rules
from engram.settings.blocks import Count, Natural, NotNegative, Once, Positive, Share, Some, Text, block


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

    layers: Count = Field(description="Number of transformer blocks.")
    width: Count = Field(description="Width of the residual stream; a multiple of heads.")
    heads: Count = Field(description="Attention heads per block.")
    vocabulary: Annotated[int, Field(ge=257)] = Field(
        description="Entries of the byte-level BPE tokenizer (256 bytes, the end token, merges)."
    )
    context: Count = Field(description="Longest sequence in tokens.")
    steps: Count = Field(description="Optimiser steps.")
    batch: Count = Field(description="Sequences per step.")
    length: Count = Field(description="Tokens per training sequence; at most context.")
    rate: Positive = Field(description="Peak of the one-cycle learning rate.")
    spread: Positive = Field(default=0.02, description="Standard deviation of the initial weights.")
    weight_decay: NotNegative = Field(default=0.01, description="AdamW weight decay.")
    warmup: Share = Field(default=0.1, description="Share of the steps until the peak of the learning rate.")


@block
class ByDataset:
    """Whether only records are edited that the model answers correctly, by dataset."""

    counterfact: bool = Field(description="Of CounterFact.")
    zsre: bool = Field(description="Of zsRE.")


@block
class Records:
    """Which records are edited."""

    count: Count = Field(description="At most so many: the first in the order of the table.")
    only_known: bool | ByDataset = Field(
        description="Whether only records are edited that the model answers correctly; for all, or by dataset."
    )


@block
class Model:
    """A model: either `train`, or `hub` and `revision`."""

    source: Text = Field(description="The block of `sources` that facts, prompts and text come from.")
    trace_window: Count = Field(description="MLP or attention layers that are restored together.")
    noise: NoiseRule = Field(description=CORRUPTION)
    covariance_layers: Annotated[tuple[Natural, ...], Some, Once] = Field(
        description="Layers whose second moment of the keys is kept; every edited layer is among them."
    )
    records: Records = Field(description="Which records are edited.")
    train: Training | None = Field(
        default=None, description="A GPT-2 that is trained here; a model has either `train`, or `hub` and `revision`."
    )
    hub: Text | None = Field(
        default=None,
        description="Id of the checkpoint on the model hub; a model has either `train`, or `hub` and `revision`.",
    )
    revision: Annotated[str, StringConstraints(pattern="^([0-9a-f]{40}|main)$")] | None = Field(
        default=None,
        description="Commit of the checkpoint, 40 hexadecimal digits; main, unpinned, is what is there; a model has "
        "either `train`, or `hub` and `revision`.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Of the weights as they are loaded."
    )
    devices: Literal["one", "auto"] = Field(
        default="one", description="auto: spread over all GPUs by accelerate; else one, run.device."
    )
