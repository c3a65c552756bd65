"""What all stages' scripts share: command line, guard, whole files, seeds, resumed shards, record of lineage."""
