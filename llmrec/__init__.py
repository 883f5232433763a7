"""Interaction logs into preference datasets, LLM recommenders out of them, and an honest comparison with an SSM."""

__version__ = "0.1.0"
