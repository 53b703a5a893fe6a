"""Experiments: one question a file, each a command; README.md lists them with their answers."""
