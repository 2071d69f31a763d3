"""The test bed: one real cluster, with Anchorhold installed as a user installs it."""
