"""Causal probes: vision-token swapping, layer skipping, reasoning-to-vision attention (paper, Sections 2.3 and 3.1)."""
