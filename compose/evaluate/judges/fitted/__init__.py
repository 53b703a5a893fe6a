"""Judges fitted on labelled texts: hashed features, one linear head a file, and its published error."""
