"""Other programs that do a part of what this project does, and ours beside each, on one machine in one run.

A peer is a module here with a `PEER` (peer.py). `python -m bench.peers` runs them and prints one table (table.py).
"""
