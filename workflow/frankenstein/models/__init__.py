"""A checkpoint: its architecture, its weights and manifest, where it comes from, the GPU it runs on."""
