"""Shared foundations: errors, files, logs, intervals, layer regions, code hashes."""
