"""What Envoy is told: where it listens, whom it asks, and where it may go."""
