"""The command `engram`: explore what a run has found, prepare and record a run, verify what is here."""
