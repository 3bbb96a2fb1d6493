"""The central log: every run, its plan, verdicts and output, in one SQLite file of the root."""

from nile.store.handover import Handover
from nile.store.here import plan_text, store_path
from nile.store.pruning import Pruning, keep_cap, removable
from nile.store.recorder import Recorder
from nile.store.records import HostRecord, NoticeRecord, RunContext, RunRecord, RunState
from nile.store.schema import FILE_NAME
from nile.store.store import Store

__all__ = [
    "FILE_NAME",
    "Handover",
    "HostRecord",
    "NoticeRecord",
    "Pruning",
    "Recorder",
    "RunContext",
    "RunRecord",
    "RunState",
    "Store",
    "keep_cap",
    "plan_text",
    "removable",
    "store_path",
]
