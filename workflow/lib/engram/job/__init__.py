"""What stages' scripts share: arguments, files, schemas of tables, hashes of code, resuming after a kill, seeds."""
