"""Batch and step size that set themselves: statistics, controllers, optimisers. Plain torch, used by both sides."""
