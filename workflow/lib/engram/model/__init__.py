"""A language model one can reach into: loading, hooks, tokens, changed weights, scoring, generation, training."""
