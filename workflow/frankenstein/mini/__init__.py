"""The mini study: a small world, a small Qwen2.5-VL, and the stages that train it."""
