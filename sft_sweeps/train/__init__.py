"""Training: one stage from its parent's weights to its own."""
