"""From the agent's source text to the bytes that travel."""

from nile.bootstrap.kept import Kept, KeptBundle, agent_bundle, carrier_code, reach_code

__all__ = ["Kept", "KeptBundle", "agent_bundle", "carrier_code", "reach_code"]
