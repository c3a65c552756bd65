"""What an editor is (a file of engram.methods), what it may need besides the model (`Aids`), and the changes it makes.

How the facts and the edited models are put in order, one alone, many at once or in batches, is engram.editing.sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch

from engram.editing import second_moment
from engram.editing.facts import Fact
from engram.editing.second_moment import Moment
from engram.job import arguments, io, schemas
from engram.model import contexts
from engram.model.delta import Delta
from engram.model.loading import LM
from engram.settings import methods
from engram.settings.blocks import build


@dataclass(frozen=True)
class Aids:
    """What an editor may need besides the model; empty where its NEEDS do not name it."""

    contexts: tuple[str, ...] = ()  # templates, the bare "{}" first
    moments: Mapping[int, Moment] = field(default_factory=dict)  # C by layer
    targets: Mapping[int, torch.Tensor] = field(default_factory=dict)  # v* or z [d] by case_id
    hypernet: tuple[dict[str, torch.Tensor], dict] = ({}, {})  # tensors and metadata of a trained editor
    earlier: Mapping[int, torch.Tensor] = field(default_factory=dict)  # K_pK_pᵀ [D, D] by layer, of earlier batches

    def values_of(self, facts: list[Fact], like: torch.Tensor) -> torch.Tensor:
        """The optimised values [F, d] of `facts`, on the device and in the dtype of `like`.

        ValueError that names the first fact without one.
        """
        missing = [fact.case_id for fact in facts if fact.case_id not in self.targets]
        if missing:
            raise ValueError(
                f"no optimised value for case {missing[0]} and {len(missing) - 1} more of {len(facts)} facts"
            )
        return torch.stack([self.targets[fact.case_id].to(like.device) for fact in facts]).to(like.dtype)


class Editor(Protocol):
    """A module of engram.methods; a module may also be `SideBySide` or `Remembering`."""

    NEEDS: tuple[str, ...]  # stages whose artifacts it reads: prefixes, covariance, targets, hypernet
    REGIMES: tuple[str, ...]  # single, mass, sequential: how many facts it can edit, at once or one batch after another
    Settings: type  # its hyperparameters

    def edit(self, lm: LM, facts: list[Fact], settings: Any, aids: Aids) -> Delta:
        """The change that makes one model, `lm` as it is now, hold all of `facts`."""


@runtime_checkable
class SideBySide(Protocol):
    """An editor that makes the changes of many single facts at once, faster than one after the other."""

    def edit_each(self, lm: LM, facts: list[Fact], settings: Any, aids: Aids) -> list[Delta]:
        """For every fact the change that `edit` would make for it alone."""


@runtime_checkable
class Remembering(Protocol):
    """An editor that protects the facts of earlier batches in later ones."""

    def remember(self, lm: LM, facts: list[Fact], settings: Any, aids: Aids) -> dict[int, torch.Tensor]:
        """`Aids.earlier` for the next batch, read from `lm`, the model that holds `facts` by now."""


def load(method: str | dict) -> Editor:
    """The module of a method, given its file's name (dashes are underscores there) or its block of params."""
    name = method if isinstance(method, str) else method.get("method", method["name"])
    return cast(Editor, methods.load(name))


def settings(block: dict) -> Any:
    """The `Settings` of the method whose block of params is `block`. ValueError for unknown or missing keys.

    `name`, and `method`, which names the file where it has another name (`ft-l` is a variant of `ft`), are no
    hyperparameters.
    """
    values = {key: value for key, value in block.items() if key not in ("name", "method")}
    return build(load(block).Settings, values, f"methods.{block['name']}")


def aids_of(job: arguments.Job, lm: LM, case_ids: Sequence[int]) -> Aids:
    """What the method of a job of stage `edit` needs besides the model, from those of its inputs that are given.

    Optimised values are on the device of `lm`. ValueError that names the file and the first of the `case_ids` for which
    it has none.
    """
    given, aids = job.inputs, dict[str, Any]()
    if given.prefixes:
        family = getattr(settings(job.config["method"]), "contexts", "rome")
        aids["contexts"] = tuple(contexts.templates(io.read_table(given.prefixes, schemas.PREFIXES), family))
    if given.moments:
        aids["moments"] = second_moment.load(given.moments, job, lm)
    if given.targets:
        tensors, metadata = io.read_tensors(given.targets)
        aids["targets"] = dict(zip(metadata["case_id"], tensors["value"].to(lm.device)))
        missing = [case_id for case_id in case_ids if case_id not in aids["targets"]]
        if missing:
            raise ValueError(
                f"{given.targets}: no value for record {missing[0]} and {len(missing) - 1} more of the "
                f"{len(case_ids)} that are edited here; it has {len(aids['targets'])}"
            )
    if given.hypernet:
        aids["hypernet"] = io.read_tensors(given.hypernet)
    return Aids(**aids)


def deltas(method: str | dict, lm: LM, facts: list[Fact], settings: Any, aids: Aids, n: int = 1) -> list[Delta]:
    """For every fact the change of weights that it is read with: `n` facts in a row are edited together and share one.

    The last group has the facts that are left. `method` is what `load` takes. With `n` 1 every fact meets the model as
    it is.
    """
    editor = load(method)
    if n == 1 and isinstance(editor, SideBySide):
        return editor.edit_each(lm, facts, settings, aids)
    changes: list[Delta] = []
    for start in range(0, len(facts), n):
        group = facts[start : start + n]
        changes += [editor.edit(lm, group, settings, aids)] * len(group)
    return changes
