"""Supervised fine-tuning and GRPO, with regions or components frozen (paper, Section 4)."""
