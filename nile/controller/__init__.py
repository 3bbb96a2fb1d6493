"""The asyncio shell around the cascade machine: tasks, links, threads."""

from nile.controller.attaching import check_attachable, heritage
from nile.controller.engine import Engine, EngineOptions, new_run_id
from nile.controller.gateways import Gateways
from nile.controller.prepare import AskPassword, MakeJob, prepare

__all__ = [
    "AskPassword",
    "Engine",
    "EngineOptions",
    "Gateways",
    "MakeJob",
    "check_attachable",
    "heritage",
    "new_run_id",
    "prepare",
]
