"""What the stages compute: the sections of params.yaml that have a stage's word.

Batch sizes and memory budgets are among them: products of other shapes may round differently, on a GPU at any rate, so
that they are part of what is computed. How jobs are carried out besides, engram.settings.execution says.
"""

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Field

from engram.settings.blocks import Count, Natural, NotNegative, Once, Positive, Slug, Some, Text, block, fields
from engram.settings.models import CORRUPTION, NoiseRule

Sites = tuple[Literal["hidden", "mlp", "attn", "no_mlp", "no_attn"], ...]
Batch = Literal["auto"] | Count
AtLeastTwo = Annotated[int, Field(ge=2)]
Prompts = dict[str, Annotated[tuple[int | str, ...], Some, Once]]  # by model: ids or subjects


@block
class Known:
    """Which prompts and facts the model answers correctly."""

    batch_rows: Count = Field(default=256, description="Prompts per forward pass; it may change the last bit.")


@block
class Noise:
    """Size and shape of the corruption; the rule is the model's `noise`."""

    articles: Count = Field(default=1000, description="Articles whose embeddings are counted by the rules m and t.")


@block
class PrefixFamily:
    """One family of context texts that the model samples."""

    starts: Annotated[tuple[Text, ...], Once] = Field(
        description="Words that the texts start with; empty: the end token."
    )
    lengths: Annotated[tuple[Annotated[tuple[Count, ...], Len(2, 2)], ...], Some] = Field(
        description="Pairs: tokens of a text, the start counted; number of such texts for each start."
    )
    top_k: Count = Field(description="Most likely tokens that are sampled from.")


@block
class Covariance:
    """Second moment of the keys."""

    articles: Count = Field(description="Articles of the text table that are read, in its order.")
    batch_tokens: Count = Field(default=8192, description="Padded tokens per forward pass; it may change the last bit.")
    dtype: Literal["float64", "float32"] = Field(
        default="float64",
        description="How products of float32 keys are added: exactly, or one by one in float32, as published.",
    )
    ridge: NotNegative = Field(
        default=0.0,
        description="Share of C's mean diagonal entry added to its diagonal before it is inverted; 0: none.",
    )


@block
class Trace:
    """Causal tracing of one variant."""

    prompts: Count = Field(description="Prompts that are traced: the first that the model answers correctly.")
    samples: Count = Field(description="Noise samples per prompt.")
    sites: Annotated[Sites, Some, Once] = Field(
        description="Restored: a hidden state, a window of MLPs or attentions; no_: a state, these severed."
    )
    stream: Literal["counter", "reference"] = Field(
        default="counter",
        description="counter: own noise per prompt and sample; reference: the published stream, one for all.",
    )
    replace: bool = Field(
        default=False, description="Whether the noise replaces the embedding instead of being added to it."
    )
    extra_tokens: Natural = Field(default=0, description="Tokens after the subject that are corrupted as well.")
    tokens: Literal["all", "subject_last"] = Field(
        default="all", description="Where states are restored: at every token or at the last of the subject."
    )
    precision: Literal["float32", "tf32", "bfloat16", "float64", "loaded"] = Field(
        default="float32", description="How the model computes; tf32 needs a CUDA device; loaded: in the model's dtype."
    )
    batch: Batch = Field(
        default="auto",
        description="Prompts of equal length computed together; auto: 1 on a CPU, as many as fit on a GPU.",
    )
    memory: Positive = Field(
        default=2.0,
        description="GiB for tensors on a CPU, all threads together; too few for one prompt change last bits. On a GPU "
        "the free memory is measured.",
    )


def _variant() -> Any:
    """The keys of a variant: any of Trace, and the noise rule that takes the place of the model's."""
    body = {key: Field(default=None, description=field.description) for key, field in fields(Trace).items()}
    body["noise"] = Field(default=None, description=f"In the place of the model's noise. {CORRUPTION}")
    kinds = Trace.__annotations__ | {"noise": NoiseRule}
    return block(type("Variant", (), {"__annotations__": kinds, "__doc__": _variant.__doc__} | body))


Variant = _variant()


@block
class TraceSection(Trace):
    """Causal tracing."""

    variants: dict[Slug, Variant] = Field(  # type: ignore[valid-type]  # made of the fields of Trace
        kw_only=True,
        description="What is run, by name: the keys of this section that it changes; main is what figures show.",
    )


@block
class Gradients:
    """Integrated gradients of some of the traced prompts."""

    points: Count = Field(description="Points of the Gauss-Legendre quadrature.")
    samples: Count = Field(description="Noise samples, the first of those that were traced.")
    batch: Count = Field(default=64, description="Points computed at a time: memory, and rounding.")
    count: Count = Field(default=5, description="Number of prompts, chosen by the rule of fig10.")
    prompts: Prompts = Field(default={}, description="By model, ids or subjects of the prompts; else by rule.")


@block
class Targets:
    """Optimised values; the hyperparameters are the method's."""

    batch: Batch = Field(
        default="auto",
        description="Facts whose texts have similar lengths, optimised together; auto: 8 on a CPU, 32 on a GPU, and it "
        "may change the last bit.",
    )


@block
class Perplexity:
    """Held-out text that edited models read, for edits of items `from` drift."""

    passages: Natural = Field(default=8, description="Passages; 0: none, and no such item can be made.")
    tokens: AtLeastTwo = Field(default=64, description="Tokens of a passage, its first.")
    models: Count = Field(default=20, description="Edited models that read them, the first at any n.")


@block
class Edit:
    """Raw outcomes of edited models."""

    generation_tokens: Count = Field(default=100, description="Tokens of a generated text, the prompt counted.")
    top_k: Count = Field(default=5, description="Most likely tokens that are sampled from.")
    records: Count = Field(
        default=200, description="Records that are edited, read and forgotten together; it may change the last bit."
    )
    batch: Count = Field(default=128, description="Prompts per batch; it may change the last bit.")
    generation_batch: Count = Field(
        default=320, description="Generated texts per batch; it may change the last bit, and so a text."
    )
    dense_gib: Positive = Field(
        default=2.0, description="GiB of changes that are no low-rank ones, per batch; it may change the last bit."
    )
    perplexity: Perplexity = Field(default=Perplexity(), description="Held-out text that edited models read.")

    @property
    def budget(self) -> int:
        """Bytes of stacked dense changes per batch."""
        return int(self.dense_gib * 2**30)
