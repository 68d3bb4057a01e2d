"""Weight updates: norms, spectra, geometry (paper, Section 3.2)."""
