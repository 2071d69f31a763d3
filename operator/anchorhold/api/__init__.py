"""The API, as types: what is written here is what `kubectl explain` shows and the CRDs enforce."""
