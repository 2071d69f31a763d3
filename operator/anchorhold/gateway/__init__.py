"""The window: judges every request of every run. Envoy moves the bytes and asks us about each."""
