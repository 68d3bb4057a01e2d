"""From prompt to response: chat templates, inference engines, the response cache, image descriptions."""
