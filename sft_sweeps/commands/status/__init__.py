"""`sft-sweeps status`: how far a sweep is, as tables, as JSON, or as a view that stays open."""
