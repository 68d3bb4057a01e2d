"""What did reinforcement learning change in a vision-language model, where, and was it necessary?

The library behind the workflow. It knows nothing of Snakemake.
"""
