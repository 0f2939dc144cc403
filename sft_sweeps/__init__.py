"""How the composition of fine-tuning data shapes a language model: sweeps, planned, trained and scored.

The rooms, from the ground up, and what each may import: `[tool.importlinter]` in pyproject.toml. docs/architecture.md
draws them.
"""

from pathlib import Path

__version__ = "0.1.0"
PACKAGE = Path(__file__).resolve().parent
