"""The asyncio shell around the cascade machine: tasks, links, threads."""

from nile.controller.engine import Engine, EngineOptions, new_run_id
from nile.controller.gateways import Gateways
from nile.controller.prepare import prepare

__all__ = ["Engine", "EngineOptions", "Gateways", "new_run_id", "prepare"]
