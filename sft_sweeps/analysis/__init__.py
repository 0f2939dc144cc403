"""Statistics over scores: pure functions, from observations and tables to findings."""
