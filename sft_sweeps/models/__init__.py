"""A model's folder, without torch: tokenizer, weights, initialisation, and what is wrong with one."""
