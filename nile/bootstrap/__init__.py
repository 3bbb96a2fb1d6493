"""From the agent's source text to the bytes that travel."""

from nile.bootstrap.bundle import agent_bundle

__all__ = ["agent_bundle"]
