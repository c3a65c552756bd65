"""Where facts, prompts and texts come from: original files or a generated world, as the same canonical tables."""
