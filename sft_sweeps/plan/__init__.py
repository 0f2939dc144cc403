"""The plan, a pure value: runs, stages, generations, scores; what they cost and need. Knows no Hydra and no store."""
