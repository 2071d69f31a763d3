"""How fast things are, as ratios within one run: absolute figures are the machine's."""
