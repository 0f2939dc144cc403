"""Folders and records under `output_dir`: what is done, who works, which sweeps there are."""
