"""What the stages compute: the sections of params.yaml that have a stage's word.

Batch sizes and memory budgets are among them: products of other shapes may round differently, on a GPU at any rate, so
that they are part of what is computed. How jobs are carried out besides, engram.settings.execution says.
"""

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Field

from engram.settings.blocks import Count, Natural, NotNegative, Once, Positive, Slug, Some, Text, block, fields, key
from engram.settings.models import CORRUPTION, NoiseRule

Sites = tuple[Literal["hidden", "mlp", "attn", "no_mlp", "no_attn"], ...]
Batch = Literal["auto"] | Count
AtLeastTwo = Annotated[int, Field(ge=2)]
Prompts = dict[str, Annotated[tuple[int | str, ...], Some, Once]]  # by model: ids or subjects


@block
class Known:
    """Which prompts and facts the model answers correctly."""

    batch_rows: Count = key("Prompts per forward pass; it may change the last bit.", default=256)


@block
class Noise:
    """Size and shape of the corruption; the rule is the model's `noise`."""

    articles: Count = key("Articles whose embeddings are counted by the rules m and t.", default=1000)


@block
class PrefixFamily:
    """One family of context texts that the model samples."""

    starts: Annotated[tuple[Text, ...], Once] = key("Words that the texts start with; empty: the end token.")
    lengths: Annotated[tuple[Annotated[tuple[Count, ...], Len(2, 2)], ...], Some] = key(
        "Pairs: tokens of a text, the start counted; number of such texts for each start."
    )
    top_k: Count = key("Most likely tokens that are sampled from.")


@block
class Covariance:
    """Second moment of the keys."""

    articles: Count = key("Articles of the text table that are read, in its order.")
    batch_tokens: Count = key("Padded tokens per forward pass; it may change the last bit.", default=8192)
    max_tokens: Count = key(
        "Tokens of an article that are read, its first; at most the model's positions.", default=1024
    )
    tokens: Literal["all"] | Count = key(
        "Tokens after which no further article is read; all: as many articles as `articles` says.", default="all"
    )
    dtype: Literal["float64", "float32"] = key(
        "How products of float32 keys are added: exactly, or one by one in float32, as published.", default="float64"
    )
    ridge: NotNegative = key(
        "Share of C's mean diagonal entry added to its diagonal before it is inverted; 0: none.", default=0.0
    )


@block
class Sampled:
    """Text that a model writes itself, behind its start token or a line break: for sources whose `text` is `own`."""

    passages: Count = key("Passages, as the articles of a text.", default=200)
    tokens: AtLeastTwo = key("Tokens of a passage.", default=256)
    top_k: Count = key("Most likely tokens that are sampled from.", default=100)
    heldout: Natural = key("Passages besides, which edited models read for items `from` drift.", default=50)


@block
class Trace:
    """Causal tracing of one variant."""

    prompts: Count = key("Prompts that are traced: the first that the model answers correctly.")
    samples: Count = key("Noise samples per prompt.")
    sites: Annotated[Sites, Some, Once] = key(
        "Restored: a hidden state, a window of MLPs or attentions; no_: a state, these severed."
    )
    stream: Literal["counter", "reference"] = key(
        "counter: own noise per prompt and sample; reference: the published stream, one for all.", default="counter"
    )
    replace: bool = key("Whether the noise replaces the embedding instead of being added to it.", default=False)
    extra_tokens: Natural = key("Tokens after the subject that are corrupted as well.", default=0)
    tokens: Literal["all", "subject_last"] = key(
        "Where states are restored: at every token or at the last of the subject.", default="all"
    )
    precision: Literal["float32", "tf32", "bfloat16", "float64", "loaded"] = key(
        "How the model computes; tf32 needs a CUDA device; loaded: in the model's dtype.", default="float32"
    )
    batch: Batch = key(
        "Prompts of equal length computed together; auto: 1 on a CPU, as many as fit on a GPU.", default="auto"
    )
    memory: Positive = key(
        "GiB for tensors on a CPU, all threads together; too few for one prompt change last bits. On a GPU "
        "the free memory is measured.",
        default=2.0,
    )


def _changes(cls: type, name: str, **more: tuple[Any, Any]) -> Any:
    """The block of keys of `cls` that are others somewhere: every one of them, none needed; `more`: kind, key."""
    body = {field: key(about.description or "", default=None) for field, about in fields(cls).items()}
    kinds = cls.__annotations__ | {field: kind for field, (kind, _) in more.items()}
    own = {field: about for field, (_, about) in more.items()}
    return block(type(name, (), {"__annotations__": kinds, "__doc__": cls.__doc__} | body | own))


Variant = _changes(
    Trace, "Variant", noise=(NoiseRule, key(f"In the place of the model's noise. {CORRUPTION}", default=None))
)
TraceChanges, CovarianceChanges = _changes(Trace, "TraceChanges"), _changes(Covariance, "CovarianceChanges")
SampledChanges = _changes(Sampled, "SampledChanges")
OF_MODEL = "By model, keys of this section that are others for it."


@block
class TraceSection(Trace):
    """Causal tracing."""

    variants: dict[Slug, Variant] = key(  # type: ignore[valid-type]  # made of the fields of Trace
        "What is run, by name: the keys of this section that it changes; main is what figures show.", kw_only=True
    )
    for_: dict[str, TraceChanges] = key(OF_MODEL, default={}, alias="for", kw_only=True)  # type: ignore[valid-type]


@block
class CovarianceSection(Covariance):
    """Second moment of the keys."""

    for_: dict[str, CovarianceChanges] = key(  # type: ignore[valid-type]
        OF_MODEL, default={}, alias="for", kw_only=True
    )


@block
class SampledSection(Sampled):
    """Text that a model writes itself, behind its start token or a line break: for sources whose `text` is `own`."""

    for_: dict[str, SampledChanges] = key(  # type: ignore[valid-type]
        OF_MODEL, default={}, alias="for", kw_only=True
    )


@block
class Gradients:
    """Integrated gradients of some of the traced prompts."""

    points: Count = key("Points of the Gauss-Legendre quadrature.")
    samples: Count = key("Noise samples, the first of those that were traced.")
    batch: Count = key("Points computed at a time: memory, and rounding.", default=64)
    count: Count = key("Number of prompts, chosen by the rule of fig10.", default=5)
    prompts: Prompts = key("By model, ids or subjects of the prompts; else by rule.", default={})


@block
class Targets:
    """Optimised values; the hyperparameters are the method's."""

    batch: Batch = key(
        "Facts whose texts have similar lengths, optimised together; auto: 8 on a CPU, 32 on a GPU, and it "
        "may change the last bit.",
        default="auto",
    )


@block
class Perplexity:
    """Held-out text that edited models read, for edits of items `from` drift."""

    passages: Natural = key("Passages; 0: none, and no such item can be made.", default=8)
    tokens: AtLeastTwo = key("Tokens of a passage, its first.", default=64)
    models: Count = key("Edited models that read them, the first at any n.", default=20)


@block
class Edit:
    """Raw outcomes of edited models."""

    generation_tokens: Count = key("Tokens of a generated text, the prompt counted.", default=100)
    top_k: Count = key("Most likely tokens that are sampled from.", default=5)
    records: Count = key(
        "Records that are edited, read and forgotten together; it may change the last bit.", default=200
    )
    batch: Count = key("Prompts per batch; it may change the last bit.", default=128)
    generation_batch: Count = key("Generated texts per batch; it may change the last bit, and so a text.", default=320)
    dense_gib: Positive = key(
        "GiB of changes that are no low-rank ones, per batch; it may change the last bit.", default=2.0
    )
    perplexity: Perplexity = key("Held-out text that edited models read.", default=Perplexity())

    @property
    def budget(self) -> int:
        """Bytes of stacked dense changes per batch."""
        return int(self.dense_gib * 2**30)
