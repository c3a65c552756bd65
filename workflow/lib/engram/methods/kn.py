"""KN: the value rows of a prediction's neurons get the target's embedding instead of the predicted token's.

PAPER: Dai et al. 2022; ROME App. E.2. How the neurons are found is engram.editing.knowledge_neurons.

Shapes: d values, D keys, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Lt
from pydantic import Field

from engram.settings.blocks import Count, Number, block, key

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.halving import ChunkLimit
    from engram.model.loading import LM

    # by layer a value [d, 1] and, [D, 1], 1 or -1 at the neurons that get it
    Term = dict[int, tuple[torch.Tensor, torch.Tensor]]

NEEDS = ("prefixes",)
REGIMES = ("single", "sequential")
Part = Annotated[Number, Ge(0), Lt(1)]


@block
class Settings:
    """Hyperparameters; defaults are the reference's for GPT-2 XL, but for `truth`."""

    points: Annotated[int, Field(ge=2)] = key("Points of the integral.", default=20)
    batch: Count = key("Points computed at a time: memory, and rounding.", default=20)
    adaptive_threshold: Part = key("Least score of a neuron, as a part of the highest.", default=0.2)
    refine: bool = key(
        "Whether the neurons of many contexts are kept instead of those of the bare prompt.", default=False
    )
    share: Part = key("refine: of more than this part of the contexts.", default=0.4)
    truth: Literal["own", "fact"] = key(
        "Whose neurons: of the model's own next token, or of the fact's true object.", default="own"
    )
    leading_space: bool = key(
        "Whether target and true object are tokenised as after a space; published: no.", default=False
    )
    erase: Number = key("Times the embedding of the model's own next token, taken away.", default=2.0)
    write: Number = key("Times the sum of the embeddings of the target's tokens, added.", default=1.0)


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """A change of rank one per fact and layer with neurons in it; facts in turn, each seeing those before.

    Where no neuron is selected nothing changes. PAPER (code): minus twice the embedding of the predicted token, plus
    once those of all of the target's tokens.
    DIFFERS: it is published for GPT-2 alone. Elsewhere the embeddings are the head's (GPT-2's are the same), and a
    neuron of a gated MLP that is negative gets the opposite change, or it would write the old and erase the new.
    """
    from engram.model.delta import applied
    from engram.model.halving import ChunkLimit

    room = ChunkLimit()
    terms: list[Term] = []
    for fact in facts:
        with applied(lm, _delta(terms)):
            terms.append(_term(lm, fact, settings, aids, room))
    return _delta(terms)


def _term(lm: LM, fact: Fact, settings: Settings, aids: Aids, room: ChunkLimit) -> Term:
    """The change for one fact in the model as it is now."""
    from engram.editing import knowledge_neurons

    texts = [context.replace("{}", fact.prompt).replace("{}", fact.subject) for context in _contexts(settings, aids)]
    prompts = [knowledge_neurons.read(lm, text) for text in texts]
    truth = _truth(lm, fact, prompts[0].predicted, settings)
    selections = [
        knowledge_neurons.above_threshold(
            knowledge_neurons.scores(prompt, truth, settings.points, settings.batch, room), settings.adaptive_threshold
        )
        for prompt in prompts
    ]
    selected = knowledge_neurons.shared(selections, settings.share) if settings.refine else selections[0]
    embedding = lm.model.get_output_embeddings().weight
    if embedding.shape[1] != lm.width:
        raise ValueError(
            f"model {lm.name}: its head reads vectors of width {embedding.shape[1]}, its MLPs write {lm.width}: kn, "
            "which writes rows of the head, cannot edit it"
        )
    target = _ids(lm.tokenizer, fact.target, settings)
    change = settings.write * embedding[target].sum(0) - settings.erase * embedding[prompts[0].predicted]
    term: Term = {}
    for layer, neuron in selected:
        _, rows = term.setdefault(layer, (change[:, None], embedding.new_zeros(lm.key_width(layer), 1)))
        rows[neuron] = knowledge_neurons.direction(prompts[0], (layer, neuron))
    return term


def _contexts(settings: Settings, aids: Aids) -> list[str]:
    """Templates of the prompts whose neurons are looked for: each context once, or the bare prompt alone."""
    return list(dict.fromkeys(("{}", *aids.contexts))) if settings.refine else ["{}"]


def _truth(lm: LM, fact: Fact, predicted: int, settings: Settings) -> list[int]:
    """Ids of the tokens whose probability is traced to neurons: `predicted`, or those of the fact's true object.

    PAPER (code): all tokens of the true object are read at one position. ValueError if the true object is not known.
    """
    if settings.truth == "own":
        return [predicted]
    if fact.true is None:
        raise ValueError(f"record {fact.case_id} has no true object, which `truth: fact` needs; right is `truth: own`")
    return _ids(lm.tokenizer, fact.true, settings)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, settings: Settings) -> list[int]:
    """Token ids of an object, behind a space or alone as `settings.leading_space` says."""
    from engram.model import tokens

    if settings.leading_space:
        return tokens.following(tokenizer, " " + text.strip())
    return tokens.encode(tokenizer, text.strip())


def _delta(terms: list[Term]) -> Delta:
    """All terms as one change, in the order of the layers."""
    import torch

    from engram.model.delta import Delta

    delta = Delta({})
    for layer in sorted({layer for term in terms for layer in term}):
        left, right = zip(*(term[layer] for term in terms if layer in term))
        delta.parts[layer] = torch.cat(left, 1), torch.cat(right, 1)
    return delta
