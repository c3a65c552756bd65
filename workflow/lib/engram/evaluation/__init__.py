"""From raw outcomes to metrics: scores of edits and texts, effects of restorations, confidence intervals."""
