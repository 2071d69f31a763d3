"""Is every admission rule load-bearing? Each is taken out in turn; the examples must notice."""
