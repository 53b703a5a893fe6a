"""Data that ships with training: polite refusals of our own wording, which name no topic."""
