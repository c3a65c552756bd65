"""What editors are made of: keys and values of facts, second moments and closed forms, tuning, and what edited models
say.
"""
