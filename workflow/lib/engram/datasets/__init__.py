"""Where facts, prompts and texts come from: original files, how they are fetched and read, a generated world; one shape
of tables.
"""
