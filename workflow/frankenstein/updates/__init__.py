"""Weight updates: norms, spectra, geometry (paper, Section 3.2)."""

# Leading ranks of a spectrum: those that Figure 6 shows, and that the slope of the log spectrum is fitted to.
RANKS = 50
