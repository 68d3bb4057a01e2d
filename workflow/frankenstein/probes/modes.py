"""Names of what probes do, as the configuration says them."""

# What is swapped (sweep.swap), and what becomes of a source image of another size.
MODES = ("hidden_state_at_layer", "kv_from_layer", "kv_at_layer_only")
UNEQUAL = ("resize", "interpolate")
