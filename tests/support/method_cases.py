"""Settings and inputs with which any method of methods/ can edit a toy model."""

from dataclasses import fields, replace

import torch

from engram.editing import covariance, editor
from engram.editing.facts import Fact
from engram.editing.trained_editors import editors, ke_network, mend_network
from engram.editing.values import targets
from engram.settings import methods, objective
from toy import PROMPTS, TEXT

CONTEXTS = ("{}",)


# the key is looked up at the last token: what is stored there speaks without a detour through a random model's
# attention
FACTS = [
    Fact(i, subject, "He plays {}", target)
    for i, ((_, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]


GIVEN = {"layer": 1, "layers": (0, 1), "covariance_weight": 1e-3}  # keys without a default


NETS = {
    "mend": mend_network.Network(layers=2, rank=8, edit_rate=0.1),
    "ke": ke_network.Network(layers=2, hidden=16, condition=12),
}


def settings_of(name: str):
    """The method's Settings for a toy: what must be given, and strong enough to be seen in a few steps."""
    keys = methods.keys_of(name)
    values = {key: GIVEN[key] for key, about in keys.items() if about.is_required()}
    if "clamp_norm_factor" in keys:  # optimised values
        values |= {"steps": 15, "rate": 1.0, "clamp_norm_factor": 20.0}
    elif "decay_law" in keys:  # fine-tuning
        values |= {"steps": 12, "rate": 0.02}
    return editor.load(name).Settings(**values)


def aids_of(model, name: str, settings) -> editor.Aids:
    """Values that were really optimised, second moments of real keys, an editor."""
    needs, found = methods.load(name).NEEDS, {"contexts": CONTEXTS}
    if "covariance" in needs:
        moments = covariance.second_moments(model, [0, 1], TEXT * 2, 64, 512)
        found["moments"] = {layer: replace(one, ridge=0.01) for layer, one in moments.items()}
    if "targets" in needs:
        wanted = {field.name: getattr(settings, field.name) for field in fields(objective.Settings)}
        value = targets.optimise(model, FACTS, list(CONTEXTS), objective.Settings(**wanted), batch=3).value
        found["targets"] = {fact.case_id: one for fact, one in zip(FACTS, value)}
    if "hypernet" in needs:
        found["hypernet"] = editors.to_artifact(editors.build(model, name, NETS[name], 0), {"seen": []})
    return editor.Aids(**found)


def fitted(name: str, settings, aids):
    """AlphaEdit's threshold lies between eigenvalues of the C at hand, and on none of them."""
    if name != "alphaedit":
        return settings
    between = torch.linalg.eigvalsh(aids.moments[1].mean)[-9:-7].mean()
    return replace(settings, threshold=float(between), ridge=1e-3)
