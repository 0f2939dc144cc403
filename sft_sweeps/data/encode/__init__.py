"""From examples to token ids: templates, token cache, encoded sources on disk, batches."""
