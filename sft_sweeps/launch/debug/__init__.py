"""cluster.name=debug: jobs run in the launching process itself, where a debugger reaches them."""
