"""`make prove`: the product's own proof, on the test cluster, in both isolation tiers."""
