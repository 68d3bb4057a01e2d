"""What every chapter stands on: errors, files, logs, intervals, regions of layers, the hash of our code."""
