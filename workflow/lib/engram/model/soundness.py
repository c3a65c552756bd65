"""Whether a loaded model can be computed with: its weights and what it says are numbers."""

import torch

from engram.model.loading import LM

TEXT = "The quick brown fox jumps over the lazy dog. 1, 2, 3"


def check(lm: LM) -> None:
    """ValueError, with the tensors' names, for weights that are not finite, or logits that are not.

    Logits are those of one short text; in float16 an overflow is usual, and the error says which dtype would do.
    """
    wrong = [name for name, weight in lm.model.named_parameters() if not bool(weight.isfinite().all())]
    wider = "" if lm.model.dtype == torch.float32 else "; dtype float32 (or bfloat16) has room for larger numbers"
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"model {lm.name}: weights that are not finite, in {', '.join(wrong[:5])}{more}; right is a checkpoint "
            f"without nan and infinity{wider}"
        )
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]], device=lm.device)
    with torch.no_grad():
        logits = lm.logits(lm.hidden(ids))
    if not bool(logits.isfinite().all()):
        raise ValueError(
            f"model {lm.name}: its logits after {TEXT!r} are not finite in {str(lm.model.dtype).removeprefix('torch.')}"
            f"{wider or '; the checkpoint is broken'}"
        )
