"""The command `engram`, one function for each of its subcommands."""
