"""What Slurm says: its queue, accounts, limits and reasons. (`launch/slurm` submits to it.)"""
