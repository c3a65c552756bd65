"""A fact to be edited in: its prompt, subject and target, and the token of its texts where an edit looks the subject up
(ROME Sec. 3.1).

Which records of a dataset become facts is engram.editing.records; the keys at the looked-up tokens are
engram.editing.subject_keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engram.model import scoring, tokens


@dataclass(frozen=True)
class Fact:
    """One requested change: (subject, prompt with "{}") should be followed by `target`."""

    case_id: int
    subject: str
    prompt: str
    target: str
    true: str | None = None  # the object before the change, where one is known


@dataclass(frozen=True)
class Lookup:
    """Token ids of a filled text, and the position in it where the subject's key is looked up."""

    ids: list[int]
    position: int


def lookups(
    tokenizer: PreTrainedTokenizerBase,
    fact: Fact,
    contexts: Sequence[str],
    extra: tuple[int, ...] = (),
    token: str = "subject_last",
) -> list[Lookup]:
    """The fact's prompt in each of `contexts` (templates with "{}"), followed by the token ids `extra`.

    `token`, one of engram.settings.objective.TOKENS, says where the subject is looked up. For a subject at the end of
    the prompt, "subject_first_after_last" is its last token, as in the original code. ValueError unless the prompt has
    one "{}".
    """
    templates = [context.replace("{}", fact.prompt) for context in contexts]
    return [
        Lookup(ids + list(extra), _position(token, begin, end, len(ids)))
        for ids, begin, end in tokens.filled(tokenizer, templates, fact.subject)
    ]


def _position(token: str, begin: int, end: int, length: int) -> int:
    """The position of `token` in a prompt of `length` tokens whose subject is [begin, end)."""
    return {
        "subject_first": begin,
        "subject_last": end - 1,
        "subject_first_after_last": min(end, length - 1),
        "last": length - 1,
    }[token]


def essence(tokenizer: PreTrainedTokenizerBase, fact: Fact, token: str = "subject_last") -> Lookup:
    """The text "{subject} is a" with its looked-up token; an edit should keep what it predicts (ROME eq. 4)."""
    return lookups(tokenizer, Fact(fact.case_id, fact.subject, "{} is a", fact.target), ["{}"], token=token)[0]


def target_tokens(tokenizer: PreTrainedTokenizerBase, fact: Fact) -> tuple[int, ...]:
    """Token ids of the fact's target as it follows the prompt. ValueError if the target is empty."""
    return scoring.target_ids(tokenizer, fact.target)
