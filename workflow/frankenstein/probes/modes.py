"""Names of the probe modes, as used in the configuration."""

# What is swapped (see sweep.swap), and how a source image of a different size is handled.
MODES = ("hidden_state_at_layer", "kv_from_layer", "kv_at_layer_only")
UNEQUAL = ("resize", "interpolate")
