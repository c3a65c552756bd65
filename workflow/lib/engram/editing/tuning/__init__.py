"""Fine-tuning of a few weights on the facts themselves (ROME App. E.1; MEMIT App. B)."""
