"""A study: its configuration, what it costs, what it fetches."""
