"""Training: `epochs` is a generator that yields results, `fit` is our own consumer of it."""
