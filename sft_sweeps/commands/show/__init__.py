"""`sft-sweeps show`: what a stage or run is, in what it differs, and what to type with it."""
