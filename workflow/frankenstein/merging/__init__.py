"""Hybrids of checkpoints (paper, Section 3.3)."""
