"""The only room that knows Hydra and OmegaConf: typed keys, checks, and the way from text to exact values."""
