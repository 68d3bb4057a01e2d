"""Examples, benchmarks as published, probe pairs, and the metrics that are made of them."""
