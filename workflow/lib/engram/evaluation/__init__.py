"""From raw outcomes to metrics: scores of edits, of generated texts, effects of restorations, with their intervals.
Free of torch.
"""
