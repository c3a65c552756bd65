"""Trained editors: how one is built for a model, kept as an artifact, and used to edit."""

import hashlib
from dataclasses import asdict

import torch

from engram.editing.facts import Fact
from engram.editing.hypernet import factors, ke, mend
from engram.job import seeds
from engram.model import scoring, tokens
from engram.model.delta import Delta, place
from engram.settings import blocks

KINDS = {"mend": mend, "ke": ke}
BATCH = 16  # facts whose gradients are taken together


def settings_of(kind: str, values: dict, where: str = "network"):
    """The Network settings of an editor. ValueError for an unknown kind or key."""
    if kind not in KINDS:
        raise ValueError(f"{where}: no editor {kind!r}; there are {', '.join(sorted(KINDS))}")
    return blocks.build(KINDS[kind].Network, values, where)


def build(lm, kind: str, settings, seed: int):
    """An untrained editor for `lm`, drawn from `seed`; KE's embedding starts as a copy of the model's."""
    shapes = {name: tuple(place(lm, name).weight.shape) for name in factors.maps(lm, settings.layers)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "mend":
            return mend.Net(shapes, settings).to(lm.device)
        embedding = lm.model.get_input_embeddings().weight
        net = ke.Net(shapes, settings, *embedding.shape)
        net.reader.embedding.weight.data.copy_(embedding)
        return net.to(lm.device)


def to_artifact(net, about: dict) -> tuple[dict, dict]:
    """Tensors and metadata of a trained editor; `restore` takes them back."""
    return dict(net.state_dict()), {"net": net.kind, "network": asdict(net.settings), "shapes": net.shapes, **about}


def restore(lm, kind: str, tensors: dict, metadata: dict):
    """The net of an artifact; its tensors are used as they are. ValueError if it is not an editor for `lm`."""
    if metadata.get("net") != kind:
        raise ValueError(f"the artifact holds an editor of kind {metadata.get('net')!r}, expected {kind!r}")
    settings = settings_of(kind, metadata["network"], "network of the artifact")
    shapes = {name: tuple(place(lm, name).weight.shape) for name in factors.maps(lm, settings.layers)}
    stored = {name: tuple(shape) for name, shape in metadata["shapes"].items()}
    if stored != shapes:
        raise ValueError(f"the artifact edits {stored}; model {lm.name} has {shapes}: it was made for another model")
    with torch.device("meta"):
        net = (
            mend.Net(shapes, settings)
            if kind == "mend"
            else ke.Net(shapes, settings, *tensors["reader.embedding.weight"].shape)
        )
    net.load_state_dict({name: value.to(lm.device) for name, value in tensors.items()}, assign=True)
    return net.eval().requires_grad_(False)


def text_of(tokenizer, prompt: str, target: str) -> factors.Text:
    """A filled prompt and its target, tokenised as they are scored."""
    return factors.Text(tuple(tokens.prompt(tokenizer, prompt)), scoring.target_ids(tokenizer, target))


def mark(subject: str, prompt: str) -> str:
    """A short hash of a record, by which an editor remembers what it was trained on."""
    return hashlib.sha256(f"{subject}\x1f{prompt}".encode()).hexdigest()[:16]


def edit(lm, kind: str, facts: list[Fact], scale: float, hypernet: tuple[dict, dict]) -> Delta:
    """The sum of the changes for `facts`, each from the gradient at the model as it is. The weights are not touched.

    ValueError if the editor was trained on one of the facts, or for another model.
    """
    tensors, metadata = hypernet
    seen = set(metadata["seen"])
    for fact in facts:
        if mark(fact.subject, fact.prompt) in seen:
            raise ValueError(
                f"case {fact.case_id} ({fact.subject!r}, {fact.prompt!r}) is in the training split of the editor: "
                "edit fewer records, or train on fewer (they come from the end of the table)"
            )
    net = restore(lm, kind, tensors, metadata)
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
    """Seed of the initial weights of editor `name` for `model`."""
    return seeds.seed_of(seed, model, "hypernet", name, "start")
