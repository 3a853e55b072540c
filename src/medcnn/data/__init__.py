"""Folders, tables and archives become a `Manifest`: one row an image, with labels and a split."""
