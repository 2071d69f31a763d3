"""Builds cells: a Grant in, whole manifests out, one literal a kind. Pure."""
