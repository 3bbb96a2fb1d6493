"""Nile: push deployment to many Linux hosts over a self-replicating SSH tree."""

__version__ = "0.1.0"
