"""Training of patches: preference pairs and where they come from, starting points, replay, the trainers."""
