"""Files are decoded by processes: what kills a decoder kills no run, and is named."""
