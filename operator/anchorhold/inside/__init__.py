"""What we run inside a cell, or as one would run: standard library only, nothing else of ours."""
