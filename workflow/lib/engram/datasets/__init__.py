"""Sources of the canonical tables: one module per kind, each with `tables(source, seed, ...) -> dict of DataFrames`."""
