"""What an editor is trained on: edits, other ways to ask for the same, and text that an edit should leave alone.

gen     completions of text that the model sampled itself, asked for again with the beginning cut off
facts   records of CounterFact's shape, asked for by the rewrite prompt or a paraphrase
zsre    records of zsRE's shape, asked for by the rephrased question
The records come from the end of their table and are none of those that are edited.
"""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from engram.editing.trained_editors.editors import mark, text_of
from engram.editing.trained_editors.factors import Text
from engram.job import seeds
from engram.model import generation, tokens
from engram.model.loading import LM
from engram.settings import trained_editors
from engram.settings.trained_editors import TrainingData as Settings

TASKS = get_args(trained_editors.Task)
CUTS = 4  # beginnings of a completed text that may be missing when it is asked for again


@dataclass(frozen=True)
class Example:
    """One edit, and the texts of which one is asked for after it."""

    edit: Text
    asked: tuple[Text, ...]


@dataclass(frozen=True)
class Part:
    """One side of a split: edits, and articles (token ids) whose predictions should stay."""

    examples: list[Example]
    articles: list[list[int]]


@dataclass(frozen=True)
class Task:
    """What an editor is trained on, and what its training is stopped by."""

    train: Part
    validation: Part
    about: dict[str, Any]  # metadata of the artifact: which records, by case_id and by mark


def make(
    lm: LM, name: str, tables: dict[str, pd.DataFrame], evaluated: pd.DataFrame, settings: Settings, key: tuple
) -> Task:
    """The task `name` (of TASKS) from `tables`: text and, for the task of that name, facts or zsre.

    `evaluated`: the records that are edited (columns subject and prompt), none of which is trained on. `key` seeds what
    is drawn. ValueError if too few records or articles are left, or a text is too long for `lm`.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r} to train an editor on; there are {', '.join(TASKS)}")
    articles = [ids for ids in (tokens.prompt(lm.tokenizer, text) for text in tables["text"]["text"]) if len(ids) > 1]
    held = max(1, len(articles) // 10)
    if len(articles) <= held:
        raise ValueError(f"table text: {len(articles)} articles of two tokens or more; at least 2 are needed")
    sides = articles[:-held], articles[-held:]
    if name == "gen":
        sizes = settings.records, settings.validation
        made = [
            _completions(lm, side, size, settings, (*key, what))
            for side, size, what in zip(sides, sizes, ("train", "validation"))
        ]
        about = {"case_id": {"train": [], "validation": []}, "seen": []}
    else:
        parts = split(tables[name], evaluated, settings)
        made = [[_example(lm.tokenizer, name, row) for row in part.itertuples()] for part in parts]
        about = {
            "case_id": {what: [int(i) for i in part["case_id"]] for what, part in zip(("train", "validation"), parts)},
            "seen": sorted({mark(row.subject, row.prompt) for part in parts for row in part.itertuples()}),
        }
    _check_lengths(lm, made, settings)
    train, validation = (Part(examples, side) for examples, side in zip(made, sides))
    return Task(train, validation, about | {"task": name})


def _check_lengths(lm: LM, made: list[list[Example]], settings: Settings) -> None:
    """ValueError for a passage or a text of an example that is longer than the model reads."""
    limit = lm.model.config.max_position_embeddings
    if settings.text_tokens > limit:
        raise ValueError(f"text_tokens is {settings.text_tokens}, but model {lm.name} reads at most {limit} tokens")
    for text in (text for examples in made for example in examples for text in (example.edit, *example.asked)):
        if len(text.prompt) + len(text.target) > limit:
            words = lm.tokenizer.decode([*text.prompt, *text.target])
            raise ValueError(
                f"model {lm.name} reads at most {limit} tokens, but this text of a record that is trained on has "
                f"{len(text.prompt) + len(text.target)}: {words!r}"
            )


def split(table: pd.DataFrame, evaluated: pd.DataFrame, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records to train on, and to stop by: the last of `table` that are not in `evaluated`; the very last to stop by.

    The same question about the same subject counts as the same record. ValueError if too few are left. DIFFERS: the
    published split is not known.
    """
    used = {mark(row.subject, row.prompt) for row in evaluated.itertuples()}
    free = table[[mark(row.subject, row.prompt) not in used for row in table.itertuples()]]
    if len(free) <= settings.validation:
        raise ValueError(
            f"{len(free)} of {len(table)} records are not edited: too few to train on besides {settings.validation} "
            "for validation; lower the model's records.count, or the validation of this editor"
        )
    rest = free.iloc[: -settings.validation]
    return rest.tail(settings.records), free.tail(settings.validation)


def _example(tokenizer: PreTrainedTokenizerBase, name: str, row: Any) -> Example:
    """A record `row` of the task `name` as an edit and other ways to ask for it."""
    edit = row.prompt.replace("{}", row.subject)
    asked = [row.rephrase] if name == "zsre" else [edit, *row.paraphrase_prompts]
    return Example(
        text_of(tokenizer, edit, row.target_new), tuple(text_of(tokenizer, prompt, row.target_new) for prompt in asked)
    )


def _completions(lm: LM, articles: list[list[int]], count: int, settings: Settings, key: tuple) -> list[Example]:
    """Edits of the task gen: `count` beginnings of articles, completed by the model.

    They are asked for again with 0 or more tokens of the beginning missing.
    """
    prompts: list[list[int]] = []
    cuts: list[list[int]] = []
    for index in range(count):
        rng = seeds.rng(*key, index)
        prompt = window(articles[int(rng.integers(len(articles)))], settings.prompt_tokens, rng)
        prompts.append(prompt)
        cuts.append([int(cut) for cut in rng.integers(max(1, len(prompt) // 2), size=CUTS)])
    completions = complete(
        lm, prompts, [(*key, index, "sample") for index in range(count)], settings.completion, settings.top_k
    )
    return [
        Example(Text(tuple(prompt), target), tuple(Text(tuple(prompt[cut:]), target) for cut in own))
        for prompt, target, own in zip(prompts, completions, cuts)
    ]


def window(ids: list[int], longest: int, rng: np.random.Generator) -> list[int]:
    """A passage of the token ids `ids` from a drawn token on.

    It has at most `longest` tokens, and at least half as many where there are enough.
    """
    start = int(rng.integers(max(1, len(ids) - longest // 2 + 1)))
    return ids[start : start + longest]


def complete(
    lm: LM, prompts: list[list[int]], keys: list[tuple], count: int, top_k: int, rows: int = 256
) -> list[tuple[int, ...]]:
    """For each prompt `count` tokens that follow it, sampled from the `top_k` most likely; `keys[i]` seeds prompt i.

    `rows` prompts are completed at a time.
    """
    completions = []
    for start in range(0, len(prompts), rows):
        some = [
            generation.Row(tuple(ids), key)
            for ids, key in zip(prompts[start : start + rows], keys[start : start + rows])
        ]
        texts = generation.sample(lm, some, max(len(row.ids) for row in some) + count, top_k)
        completions += [tuple(ids[len(row.ids) : len(row.ids) + count]) for row, ids in zip(some, texts)]
    return completions
