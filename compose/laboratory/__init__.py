"""The laboratory: from an experiment's settings to a finished run, every part of it resumable and shared."""
