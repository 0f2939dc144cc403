"""How the composition of fine-tuning data shapes a language model: sweeps, planned, trained and scored.

Reading order is dependency order: errors, config, spec, strategies, statistics, cost, plan, store, data, sandbox,
benchmarks, generate, train, tracking, worker, launch, status, report, cli. A module imports only what stands above it.
"""

__version__ = "0.1.0"
