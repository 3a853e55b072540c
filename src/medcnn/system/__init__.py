"""The non-medical foundation of everything else: files, errors, privacy, progress."""
