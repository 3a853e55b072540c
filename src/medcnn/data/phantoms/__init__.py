"""Seeded drawings in real file formats, for the demo and for tests."""
