"""What runs in a Pod by itself, beside nothing else of ours: standard library only."""
