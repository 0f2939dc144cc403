"""`sft-sweeps publish`: a finished model as a folder, or a repository of the hub, that says what it is."""
