"""Is a file what it says, and where does it come from: lineage, audit, ledger, what DVC remembers, research objects.
Free of torch.
"""
