"""What editors are made of: records, keys and values, second moments, fine-tuning, and what edited models say."""
