"""Fine-tuning single facts one after the other against side by side, and the attribution of knowledge neurons.

    python tests/bench/bench_finetune.py [--facts 16] [--threads 2]          a small random model
    python tests/bench/bench_finetune.py --xl --device cuda --facts 64       GPT-2 XL's shape, random weights, on a GPU

Every fact makes all 25 steps (a random model: no loss is low enough to stop). Prints seconds a fact, the ratio to one
after the other, the largest difference relative to the change's norm, and on a GPU the peak of its memory.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import toy
from engram.editing.facts import Fact
from engram.methods import ft, kn

XL = {"layers": 48, "width": 1600, "heads": 25, "vocabulary": 50257, "std": 0.02}
SMALL = {"layers": 8, "width": 128, "heads": 4, "vocabulary": 1500, "std": 0.1}
AIDS = SimpleNamespace(contexts=())
WORDS = ["Thomas", "James", "Martin", "plays", "Rome", "piano", "chess", "Switzerland"]


def timed(device: str, call):
    """What the call returns, and its seconds."""
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    sync()
    begin = perf_counter()
    found = call()
    sync()
    return found, perf_counter() - begin


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--xl", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    lm = toy.lm("gpt2", **(XL if args.xl else SMALL))
    lm.model.to(args.device)
    names = [f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} Martin" for i in range(args.facts)]
    facts = [Fact(i, name, "{} is a citizen of", "chess") for i, name in enumerate(names)]
    few = facts[: max(2, args.facts // 8)]
    block = {"layer": 1 if args.xl else 0, "stop_loss": 0.0}
    ft.edit(lm, facts[:1], ft.Settings(**block), AIDS)
    alone, seconds = timed(args.device, lambda: [ft.edit(lm, [fact], ft.Settings(**block), AIDS) for fact in few])
    before = seconds / len(few)
    print(f"ft, one after the other: {before:.4f} s a fact ({len(few)} facts)")
    for side in (1, 4, 16, 32, 64):
        settings = ft.Settings(**block, side_by_side=side)
        some = facts if side > 1 else few
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found, seconds = timed(args.device, lambda: ft.edit_each(lm, some, settings, AIDS))
        peak = f", peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if args.device == "cuda" else ""
        layer = block["layer"]
        away = max((a.parts[layer] - b.parts[layer]).norm() / b.parts[layer].norm() for a, b in zip(found, alone))
        print(
            f"ft, {side:2} side by side: {seconds / len(some):.4f} s a fact, x{before * len(some) / seconds:.1f}, "
            f"difference {away:.1e}{peak}"
        )
        del found
    kn.edit(lm, facts[:1], kn.Settings(), AIDS)
    _, seconds = timed(args.device, lambda: [kn.edit(lm, [fact], kn.Settings(), AIDS) for fact in few])
    print(f"kn: {seconds / len(few):.4f} s a fact ({len(few)} facts)")


if __name__ == "__main__":
    main()
