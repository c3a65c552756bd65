"""A fact to be edited in: its prompt, subject and target, and the token of its texts where an edit looks the subject up
(ROME Sec. 3.1).
"""

from dataclasses import dataclass

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
    """A filled text and the token where the subject's key is looked up."""

    ids: list[int]
    position: int


def lookups(
    tokenizer, fact: Fact, contexts: list[str], extra: tuple[int, ...] = (), token: str = "subject_last"
) -> list[Lookup]:
    """The fact's prompt in every context, followed by the token ids `extra`; `token` is one of objective.TOKENS.

    A subject at the end of the prompt has no token after it; its last one is taken then, as in the original code.
    ValueError unless the prompt has one "{}".
    """
    templates = [context.replace("{}", fact.prompt) for context in contexts]
    return [
        Lookup(ids + list(extra), _place(token, begin, end, len(ids)))
        for ids, begin, end in tokens.filled(tokenizer, templates, fact.subject)
    ]


def _place(token: str, begin: int, end: int, length: int) -> int:
    """Where `token` is in a prompt of `length` tokens with the subject at begin .. end - 1."""
    return {
        "subject_first": begin,
        "subject_last": end - 1,
        "subject_first_after_last": min(end, length - 1),
        "last": length - 1,
    }[token]


def essence(tokenizer, fact: Fact, token: str = "subject_last") -> Lookup:
    """The text whose prediction an edit should keep: "{subject} is a", with its looked-up token."""
    return lookups(tokenizer, Fact(fact.case_id, fact.subject, "{} is a", fact.target), ["{}"], token=token)[0]


def target_tokens(tokenizer, fact: Fact) -> tuple[int, ...]:
    return scoring.target_ids(tokenizer, fact.target)
