"""The report: one HTML page of the active models' figures, tables, prompts and edits, with where each comes from."""
