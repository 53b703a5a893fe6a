"""Statistics of evaluations: the prompt is the unit, what is compared is paired, and looking early is paid for."""
