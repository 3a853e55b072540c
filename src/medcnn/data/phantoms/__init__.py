"""Seeded drawings in the real formats, for the demo and for tests."""
