"""The algorithms of federated fine-tuning, free of any service library."""

__version__ = "0.1.0"
