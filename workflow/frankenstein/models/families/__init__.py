"""One file for each model family, named after its `model_type`, with one `Family` (models/family.py) called FAMILY."""
