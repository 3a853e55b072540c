"""Folders, tables and archives become a `Manifest`: one row per image, with labels and split."""
