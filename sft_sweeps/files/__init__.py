"""Bytes on disk, nothing of ours in them: JSON written atomically, packed files, rows, content hashes, locks."""
