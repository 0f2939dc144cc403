"""What is missing of a plan as jobs, what was handed over, and how each job stands."""
