"""Optimised values: what the edited layer should return for a fact, v* of ROME (eq. 4) and z of MEMIT (Sec. 4.2)."""
