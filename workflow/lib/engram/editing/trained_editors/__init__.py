"""Networks that turn the gradient of an edit into a change of weights: MEND and KE, their training, their artifacts."""
