"""Locating facts: how a subject is corrupted, what restoring a state brings back, how much memory that takes (ROME Sec.
2).
"""
