"""From a response to a verdict: one extraction, the rules of each benchmark, a judge for what the rules leave open."""
