"""What editors compute with: which records, C, v* and z, trained editors (MEND, KE); and what the edited model says."""
