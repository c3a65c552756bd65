"""From text to token ids: what stands at the beginning and what follows, where a subject lies, padded batches.

A text that a model reads from its beginning has the start token in front, if the tokenizer puts one there by itself
(`prompt`); what follows a text has none, nor the space that some tokenizers put before a text (`following`).
PAPER: ROME and MEMIT take what the tokenizer of GPT-2, GPT-J and GPT-NeoX gives, which has neither.

Shapes: B rows, T tokens.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

_BEFORE = "\n"  # text that merges with nothing after it


def usable(name: str, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer of the model `name`, if it says where in a text each token lies. ValueError if it does not."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"model {name}: its tokenizer, {type(tokenizer).__name__}, does not say where in a text a token lies; "
            "right is a checkpoint with tokenizer.json"
        )
    return tokenizer


def check_vocabulary(name: str, tokenizer: Tokenizer, rows: int) -> None:
    """ValueError if a text can become a token that the embeddings of the model `name`, `rows` of them, do not have.

    Tokens that only a special word becomes, such as that of a picture, may lie beyond them.
    """
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    beyond = sorted((index, word) for word, index in tokenizer.get_vocab().items() if index >= rows)
    beyond = [(index, word) for index, word in beyond if index not in special]
    if beyond:
        raise ValueError(
            f"model {name}: its tokenizer has {len(beyond)} tokens beyond the {rows} rows of the embeddings, the first "
            f"{beyond[0][1]!r} with id {beyond[0][0]}; right is the tokenizer that the model was trained with"
        )


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of `text` alone, without any special token."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of token ids that stand at the beginning, the start token left out; see `decode_following`."""
    return str(tokenizer.decode(list(ids)))


def start(tokenizer: Tokenizer) -> list[int]:
    """The ids that the tokenizer puts in front of a text: one start token, or none. ValueError if it cannot be seen."""
    return list(_start(tokenizer))


@lru_cache(maxsize=8)
def _start(tokenizer: Tokenizer) -> tuple[int, ...]:
    plain, full = encode(tokenizer, "a"), tokenizer("a")["input_ids"]
    for count in range(len(full) - len(plain) + 1):
        if full[count : count + len(plain)] == plain:
            return tuple(full[:count])
    raise ValueError(
        f"the tokenizer {tokenizer.name_or_path!r} encodes 'a' as {plain} alone and as {full} with special tokens: "
        "it cannot be seen what it puts in front"
    )


def prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text that is read from its beginning: the start token, where there is one, and the text's own."""
    return start(tokenizer) + encode(tokenizer, text)


def following(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of `text` as it follows another. ValueError if it would merge with whatever is before it."""
    if _joins(tokenizer):
        return encode(tokenizer, text)
    before, both = encode(tokenizer, _BEFORE), encode(tokenizer, _BEFORE + text)
    if both[: len(before)] != before:
        raise ValueError(f"the tokens of {text!r} cannot be told from those of what is before it")
    return both[len(before) :]


def decode_following(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of token ids that follow others: a space that a decoder takes from the beginning of a text is kept."""
    if _keeps_spaces(tokenizer):
        return decode(tokenizer, ids)
    before = encode(tokenizer, _BEFORE)
    return decode(tokenizer, [*before, *ids])[len(decode(tokenizer, before)) :]


@lru_cache(maxsize=8)
def _joins(tokenizer: Tokenizer) -> bool:
    """Whether texts that follow each other have the tokens that they have alone."""
    return all(
        encode(tokenizer, _BEFORE + text) == encode(tokenizer, _BEFORE) + encode(tokenizer, text)
        for text in (" a", "a")
    )


@lru_cache(maxsize=8)
def _keeps_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the decoder keeps a space at the beginning of a text."""
    return decode(tokenizer, following(tokenizer, " a")) == " a"


def token_range(tokenizer: Tokenizer, text: str, begin: int, end: int) -> tuple[int, int]:
    """Tokens [b, e), of what `prompt` makes of `text`, that hold its characters [begin, end).

    ValueError if no token does.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return _inside(tokenizer, text, encoded["offset_mapping"], begin, end)


def _inside(tokenizer: Tokenizer, text: str, offsets: list[tuple[int, int]], begin: int, end: int) -> tuple[int, int]:
    inside = [i for i, (a, b) in enumerate(offsets) if b > begin and a < end and a < b]
    if not inside:
        raise ValueError(f"no token of {text!r} holds the characters {begin}..{end}")
    shift = len(start(tokenizer))
    return shift + inside[0], shift + inside[-1] + 1


def subject_range(tokenizer: Tokenizer, text: str, subject: str) -> tuple[int, int]:
    """Tokens [b, e) of the first occurrence of `subject` in what `prompt` makes of the text.

    ValueError if it is absent.
    """
    begin = text.find(subject)
    if begin < 0 or not subject:
        raise ValueError(f"subject {subject!r} does not occur in the prompt {text!r}")
    return token_range(tokenizer, text, begin, begin + len(subject))


def filled(tokenizer: Tokenizer, templates: Sequence[str], subject: str) -> list[tuple[list[int], int, int]]:
    """For each template with its one "{}" filled: its token ids (as of `prompt`), and the tokens [b, e) of the subject.

    ValueError unless "{}" occurs once in each and some token holds the subject.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"the template {template!r} must hold exactly one {{}}")
    texts = [template.replace("{}", subject) for template in templates]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    begins = [template.index("{}") for template in templates]
    in_front = start(tokenizer)
    return [
        (in_front + ids, *_inside(tokenizer, text, offsets, begin, begin + len(subject)))
        for text, ids, offsets, begin in zip(texts, encoded["input_ids"], encoded["offset_mapping"], begins)
    ]


def pad(rows: Sequence[Sequence[int]], device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """Right-padded token ids [B, T] (padding is id 0) and the lengths [B] of `rows`.

    A causal model needs no mask for what precedes padding.
    """
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)
    return ids.to(device), torch.tensor([len(row) for row in rows], device=device)
