"""Evaluation: risks with their prompts and judges, utility, and what was forgotten.

`run.measure` measures any number of patches together; `risks.load_risk` and `utility.load_utility` make ready
what is measured; `forgetting` turns measurements after each stage into named numbers with intervals.
"""
