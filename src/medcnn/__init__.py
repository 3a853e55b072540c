"""Train, evaluate and fine-tune CNNs on medical images, with results that can be defended."""

__version__ = "0.1.0"
