"""Runs the runs: observes, decides by a pure plan, writes, and says what it did."""
