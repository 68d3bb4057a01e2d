"""From measurements to verdicts on the findings of the paper."""
