"""What runs use: reserved before, settled after, on record before it is given out."""
