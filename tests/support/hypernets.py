"""Small networks of MEND and KE, facts and tables to train them on, and slopes by plain autograd."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import torch

import toy
from engram.editing import editor
from engram.editing.facts import Fact
from engram.editing.trained_editors import editors, factors, ke_network, mend_network, tasks, training

KINDS = ("mend", "ke")


SMALL = {
    "mend": mend_network.Network(layers=2, rank=8, edit_rate=0.01),
    "ke": ke_network.Network(layers=2, hidden=16, condition=12),
}


DATA = tasks.Settings(records=6, validation=2, text_tokens=12, prompt_tokens=6, completion=3, top_k=5)


HOW = training.Settings(steps=12, rate=0.003, interval=4, patience=100, edits=3, edit_rate=0.003)


NAMES = ["Thomas James Martin", "Danielle Darrieux", "Beats Music", "Martin James Thomas"]


FACTS = [
    Fact(i, name, "{} plays", target)
    for i, (name, target) in enumerate(zip(NAMES, ["chess", "the piano", "Rome", "CBS"]))
]


def net_of(lm, kind, seed=0, moved=0.0, **changes):
    """An editor, its parameters moved away from where they start by noise of size `moved`."""
    net = editors.build(lm, kind, replace(SMALL[kind], **changes), seed)
    torch.manual_seed(seed + 1)
    for value in net.parameters():
        value.data += moved * torch.randn_like(value)
    return net


def artifact(net, seen=()):
    return editors.to_artifact(net, {"seen": list(seen)})


def texts_of(lm, facts):
    return [editors.text_of(lm.tokenizer, fact.prompt.replace("{}", fact.subject), fact.target) for fact in facts]


def slopes(lm, layers, text):
    """Autograd's gradient of the mean loss of one text's target with respect to every edited weight [out, in]."""
    weights = {name: lm.model.get_parameter(name).requires_grad_(True) for name in factors.maps(lm, layers)}
    ids = torch.tensor([[*text.prompt, *text.target]])
    predicted = lm.model(input_ids=ids).logits[0, len(text.prompt) - 1 : -1].log_softmax(-1)
    loss = -predicted[range(len(text.target)), list(text.target)].mean()
    found = torch.autograd.grad(loss, list(weights.values()))
    lm.model.requires_grad_(False)
    return {name: slope.T if lm.arch.conv1d else slope for name, slope in zip(weights, found)}


def delta_of(lm, kind, net, facts, scale=1.0):
    return editor.load(kind).edit(lm, facts, editor.load(kind).Settings(scale), SimpleNamespace(hypernet=artifact(net)))


def close(found, wanted, tolerance=2e-5):
    return (found - wanted).norm() <= tolerance * wanted.norm()


def tables():
    """Twelve records of both shapes, and some text."""
    names = [f"{a} {b}" for a in ("Thomas", "Martin", "James") for b in ("Rome", "French", "Apple", "Zürich")]
    facts = pd.DataFrame(
        [
            {
                "case_id": i,
                "subject": name,
                "prompt": "{} plays",
                "target_new": "chess" if i % 2 else "piano",
                "paraphrase_prompts": [f"What does {name} do ? {name} plays the"],
            }
            for i, name in enumerate(names)
        ]
    )
    zsre = pd.DataFrame(
        [
            {
                "case_id": i,
                "subject": name,
                "prompt": "What does {} do ?",
                "target_new": "chess",
                "rephrase": f"{name} plays",
            }
            for i, name in enumerate(names)
        ]
    )
    return {"facts": facts, "zsre": zsre, "text": pd.DataFrame({"text": toy.TEXT})}


def task_of(lm, name="facts", edited=4, data=DATA, seed=0):
    found = tables()
    return tasks.make(
        lm, name, found, found["zsre" if name == "zsre" else "facts"].head(edited), data, (seed, "toy", name)
    )
