"""From the agent's source text to the bytes that travel."""

from nile.bootstrap.kept import (
    KeptBundle,
    agent_bundle,
    carrier_code,
    kept_carrier_code,
    kept_command_code,
    kept_program,
    kept_reach_code,
    kept_second_warden,
    kept_shell_code,
    reach_code,
)

__all__ = [
    "KeptBundle",
    "agent_bundle",
    "carrier_code",
    "kept_carrier_code",
    "kept_command_code",
    "kept_program",
    "kept_reach_code",
    "kept_second_warden",
    "kept_shell_code",
    "reach_code",
]
