"""Snakemake finds logger plugins by the names of their packages: `snakemake --logger frankenstein`."""

from frankenstein.study.run_log import LogHandler as LogHandler
