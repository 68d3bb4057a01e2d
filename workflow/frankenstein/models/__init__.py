"""Checkpoints: architecture, weights and manifests, download from the Hub, and GPU allocation."""
