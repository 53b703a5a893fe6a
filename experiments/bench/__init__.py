"""How fast and how large: our training, generation and evaluation against stock TRL and PEFT, as ratios."""
