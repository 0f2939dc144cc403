"""Metrics: `metrics.jsonl`, which is the truth, and the trackers that mirror it."""
