"""Examples, public benchmarks, probe pairs, and the metrics computed from them."""
