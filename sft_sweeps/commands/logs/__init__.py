"""`sft-sweeps logs`: what a stage's job prints."""
