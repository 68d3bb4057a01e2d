"""What changed in the weights: norms, spectra, geometry (paper, Section 3.2)."""
