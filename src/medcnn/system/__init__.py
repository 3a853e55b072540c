"""What everything stands on and nothing of which is medical: files, errors, privacy, progress."""
