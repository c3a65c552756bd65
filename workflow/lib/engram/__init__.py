"""Locating and editing factual associations in language models; docs/packages.md shows the packages and their order."""
