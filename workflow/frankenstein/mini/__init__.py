"""The mini study: a small synthetic world, a small Qwen2.5-VL, and its training stages."""
