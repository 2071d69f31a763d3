"""Anchorhold runs AI agents as if they were hostile: one sealed, short-lived Pod for each run."""
