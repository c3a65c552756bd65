"""Trained editors (MEND, KE): how one is built for a model, kept as an artifact, and used to edit.

Their networks are in `mend_network` and `ke_network` of this package, their training in `training`.
"""

import hashlib
from dataclasses import asdict
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from engram.editing.facts import Fact
from engram.editing.trained_editors import factors, ke_network, mend_network
from engram.job import seeds
from engram.model import scoring, tokens
from engram.model.delta import Delta, place
from engram.model.loading import LM
from engram.settings import blocks

KINDS = {"mend": mend_network, "ke": ke_network}
Net = mend_network.Net | ke_network.Net
Shapes = dict[str, tuple[int, int]]  # (out, in) of every edited weight, by its name
BATCH = 16  # facts whose gradients are taken together


def settings_of(kind: str, values: dict[str, Any], where: str = "network") -> Any:
    """The settings of the network of an editor, `Network` of its kind; `where` names them in a message.

    ValueError for an unknown kind or key.
    """
    if kind not in KINDS:
        raise ValueError(f"{where}: no editor {kind!r}; there are {', '.join(sorted(KINDS))}")
    return blocks.build(KINDS[kind].Network, values, where)


def shapes_of(lm: LM, layers: int) -> Shapes:
    """(out, in) of the weights that an editor of the last `layers` layers changes, by name."""
    shapes = {name: place(lm, name).weight.shape for name in factors.maps(lm, layers)}
    return {name: (out, into) for name, (out, into) in shapes.items()}


def build(lm: LM, kind: str, settings: Any, seed: int) -> Net:
    """An untrained editor for `lm`, drawn from `seed`; KE's embedding starts as a copy of the model's."""
    shapes = shapes_of(lm, settings.layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "mend":
            return mend_network.Net(shapes, settings).to(lm.device)
        embedding = lm.module("embed").get_parameter("weight")
        net = ke_network.Net(shapes, settings, len(embedding), embedding.shape[1])
        net.reader.embedding.weight.data.copy_(embedding)
        return net.to(lm.device)


def to_artifact(net: Net, about: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of a trained editor, `about` among the latter; `restore` takes them back."""
    return dict(net.state_dict()), {"net": net.kind, "network": asdict(net.settings), "shapes": net.shapes, **about}


def restore(lm: LM, kind: str, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> Net:
    """The trained net that `to_artifact` took apart, in eval mode; its tensors are used as they are.

    ValueError if it is not an editor of this kind for `lm`.
    """
    if metadata.get("net") != kind:
        raise ValueError(f"the artifact holds an editor of kind {metadata.get('net')!r}, expected {kind!r}")
    settings = settings_of(kind, metadata["network"], "network of the artifact")
    shapes = shapes_of(lm, settings.layers)
    stored = {name: tuple(shape) for name, shape in metadata["shapes"].items()}
    if stored != shapes:
        raise ValueError(f"the artifact edits {stored}; model {lm.name} has {shapes}: it was made for another model")
    with torch.device("meta"):
        net: Net = (
            mend_network.Net(shapes, settings)
            if kind == "mend"
            else ke_network.Net(shapes, settings, *tensors["reader.embedding.weight"].shape)
        )
    net.load_state_dict({name: value.to(lm.device) for name, value in tensors.items()}, assign=True)
    return net.eval().requires_grad_(False)


def text_of(tokenizer: PreTrainedTokenizerBase, prompt: str, target: str) -> factors.Text:
    """A filled prompt and its target, tokenised as they are scored."""
    return factors.Text(tuple(tokens.prompt(tokenizer, prompt)), scoring.target_ids(tokenizer, target))


def mark(subject: str, prompt: str) -> str:
    """A short hash (16 hexadecimal digits) of a record, by which an editor remembers what it was trained on."""
    return hashlib.sha256(f"{subject}\x1f{prompt}".encode()).hexdigest()[:16]


def edit(
    lm: LM, kind: str, facts: list[Fact], scale: float, hypernet: tuple[dict[str, torch.Tensor], dict[str, Any]]
) -> Delta:
    """The sum of the changes for `facts`, times `scale`, each from the gradient at the model as it is.

    `hypernet` are tensors and metadata of a trained editor. ValueError if it is none for this model, or was trained on
    one of the facts.
    """
    tensors, metadata = hypernet
    net = restore(lm, kind, tensors, metadata)
    seen = set(metadata["seen"])
    for fact in facts:
        if mark(fact.subject, fact.prompt) in seen:
            raise ValueError(
                f"case {fact.case_id} ({fact.subject!r}, {fact.prompt!r}) is in the training split of the editor: "
                "edit fewer records, or train on fewer (they come from the end of the table)"
            )
    layers = net.settings.layers
    total, edited = factors.Sum(), factors.maps(lm, layers)
    for start in range(0, len(facts), BATCH):
        texts = [
            text_of(lm.tokenizer, fact.prompt.replace("{}", fact.subject), fact.target)
            for fact in facts[start : start + BATCH]
        ]
        batch = factors.batch_of(lm, texts, layers)
        with torch.no_grad():
            total.add(net(batch, factors.factors(lm, edited, batch, layers)), scale)
    return total.delta()


def seed_of(seed: int, model: str, name: str) -> int:
    """The seed of the initial weights of the editor `name` for `model`, from the run's `seed`."""
    return seeds.seed_of(seed, model, "hypernet", name, "start")
