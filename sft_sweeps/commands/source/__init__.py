"""`sft-sweeps source`: files of yours as sources."""
