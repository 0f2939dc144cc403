"""Hydra finds Sweepers only in this namespace; everything else is in sft_sweeps."""
