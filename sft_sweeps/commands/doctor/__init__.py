"""`sft-sweeps doctor`: what stands in the way on this machine or cluster, and what to change."""
