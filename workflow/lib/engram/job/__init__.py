"""What every stage's script shares: its command line, files written whole, seeds, shards, progress, and the record of
lineage.
"""
