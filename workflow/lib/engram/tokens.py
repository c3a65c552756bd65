"""From text to token ids: subject ranges by character offsets, right-padded batches.

Shapes: B rows, T tokens.
"""

import torch


def encode(tokenizer, text: str) -> list[int]:
    """Token ids of `text` alone, without any special token."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def token_range(tokenizer, text: str, start: int, end: int) -> tuple[int, int]:
    """Tokens [b, e) of `text` that hold the characters [start, end). ValueError if no token does."""
    return _inside(text, tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"], start, end)


def _inside(text: str, offsets: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    inside = [i for i, (a, b) in enumerate(offsets) if b > start and a < end]
    if not inside:
        raise ValueError(f"no token of {text!r} holds the characters {start}..{end}")
    return inside[0], inside[-1] + 1


def subject_range(tokenizer, prompt: str, subject: str) -> tuple[int, int]:
    """Tokens [b, e) of the first occurrence of `subject` in `prompt`. ValueError if it is absent."""
    start = prompt.find(subject)
    if start < 0 or not subject:
        raise ValueError(f"subject {subject!r} does not occur in the prompt {prompt!r}")
    return token_range(tokenizer, prompt, start, start + len(subject))


def filled(tokenizer, templates: list[str], subject: str) -> list[tuple[list[int], int, int]]:
    """For each template with its one "{}" filled: its token ids, and the tokens [b, e) of the subject.

    ValueError unless "{}" occurs once in each and some token holds the subject.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"the template {template!r} must hold exactly one {{}}")
    texts = [template.replace("{}", subject) for template in templates]
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    starts = [template.index("{}") for template in templates]
    return [(ids, *_inside(text, offsets, start, start + len(subject)))
            for text, ids, offsets, start in zip(texts, found["input_ids"], found["offset_mapping"], starts)]


def pad(rows: list[list[int]], device="cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids [B, T] (padding is id 0) and lengths [B]; a causal model needs no mask for what precedes padding."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids.to(device), torch.tensor([len(row) for row in rows], device=device)
