"""Locating and editing factual associations in language models. See README.md and CONTRIBUTING.md."""
