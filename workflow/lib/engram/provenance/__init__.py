"""Where a file is from and whether it is unchanged: records, audit, lineage of numbers, dvc.yaml, dvc.lock, crates."""
