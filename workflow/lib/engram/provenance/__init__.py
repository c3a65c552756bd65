"""Is a file what it says, and where is it from: lineage, audit, ledger, dvc.yaml and dvc.lock, crates."""
