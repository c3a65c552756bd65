"""What stages' scripts share: command line, guard, whole files, schemas of tables, seeds, shards, record of lineage."""
