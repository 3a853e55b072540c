"""From a manifest to batches: pixels are decoded once into a store, which epochs then read."""
