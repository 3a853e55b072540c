"""Every score, weighted, in one table."""
