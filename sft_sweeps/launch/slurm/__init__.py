"""The launcher of a cluster: job arrays with dependencies, sent with submitit."""
