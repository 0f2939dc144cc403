"""What runs as a job: one process, its signals, its exit status. The only door to torch."""
