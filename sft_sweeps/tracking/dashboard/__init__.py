"""What a study is reviewed on at Weights & Biases: two saved views and a report, as values, as JSON, and put there."""
