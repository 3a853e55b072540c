"""From a manifest to batches: pixels are decoded once into a store, epochs read the store."""
