"""Figures, tables, and the HTML report that contains them."""
