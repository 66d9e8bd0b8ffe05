"""Which recorded units belong to one population."""
