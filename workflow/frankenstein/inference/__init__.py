"""From a prompt to a response: chat templates, engines, the cache of responses, descriptions."""
