"""What a run computes and how: params.yaml read, checked, and cut into what each job depends on."""
