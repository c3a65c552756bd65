"""A language model one can reach into: architectures, loading, hooks, tokens, scoring, generation, training."""
