"""A language model one can reach into: loading, hooks, tokens, weights changed and put back, scoring, generation."""
