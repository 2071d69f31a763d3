"""The attack of each claim: from a stage, and what was already seen there, to attempts."""
