"""A miniature study under attack: `make chaos SEED=1 MINUTES=25`.

Two users launch overlapping sweeps into one store, one on this machine and one on a real Slurm, while an adversary does
to them what clusters do. When it has ended they go on launching until everything is done. Then everything must be as if
nothing had happened.

    room.py        the namespaces in which all of it runs: nothing outside can be touched, nothing stays behind
    world.py       the store (a small tmpfs), the cluster, what happens (the log)
    processes.py   who runs: ranks, launches, wandb-core
    users.py       who launch the same command again until their sweep is done, then the next one
    caretaker.py   who looks after the cluster
    faults/        what can happen, a table by kind
    adversary.py   the schedule of a seed, and who follows it
    checks.py      what must hold at the end
"""
