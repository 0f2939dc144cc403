"""`sft-sweeps`: one file for each thing that is typed."""
