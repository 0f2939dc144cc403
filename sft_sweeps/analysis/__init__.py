"""Statistics over scores: pure functions of `Observation`s, whether they come from a store or from the paper."""
