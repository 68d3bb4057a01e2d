"""From measurements to verdicts on the paper's findings."""
