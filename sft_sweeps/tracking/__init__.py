"""Metrics: `metrics.jsonl`, which is the truth, and the trackers that show it elsewhere (base.py says what one is)."""
