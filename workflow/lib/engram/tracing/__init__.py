"""Locating facts: how a subject is corrupted, what restoring a state brings back, what memory that takes."""
