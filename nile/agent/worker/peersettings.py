"""How libtorrent is set for a swarm on a local network. It needs none itself.

What each of these does was measured; see docs/explanation/swarm.md.
"""

from nile.agent.worker.banned import ALARMED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

# What of a start the root says.
HOW = ("slots", "asked", "limit", "tls", "word", "ports", "refuse", "keep")
NAMES = 200  # files of which the places are told in one message
_TCP_ONLY = {
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "mixed_mode_algorithm": 0,  # prefer_tcp
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
}
_EAGER = {
    "connection_speed": 500,
    "torrent_connect_boost": 255,
    "smooth_connects": False,
    "peer_connect_timeout": 3,
    "handshake_timeout": 5,
    "request_timeout": 10,
    "piece_timeout": 5,
    "inactivity_timeout": 60,
    "min_reconnect_time": 1,  # the default of 60 is too long for those that have just been launched
    "max_failcount": 100,
    "unchoke_interval": 5,
    "optimistic_unchoke_interval": 10,
    "initial_picker_threshold": 0,  # priorities hold for the first pieces, too
    "whole_pieces_threshold": 0,  # nobody is asked for several that follow each other: they are other shares
    "request_queue_time": 1,  # with 3, a tenth of what comes came already
}
_OTHERS = {
    "user_agent": "nile",
    "allow_multiple_connections_per_ip": True,  # hosts may have one address outside, or be one machine
    "connections_limit": 1000,
    "out_enc_policy": 2,  # pe_disabled: it hides what is sent from nobody
    "in_enc_policy": 2,
    "close_redundant_connections": True,
    "aio_threads": 4,
    "hashing_threads": 1,
    "mmap_file_size_cutoff": 1 << 30,  # blocks of 16 KiB: files are read and written, and not mapped
    "max_retry_port_bind": 0,
    "announce_to_all_trackers": True,
    "announce_to_all_tiers": True,
    "apply_ip_filter_to_trackers": False,
}
# Of a torrent that comes over the tree: by default there may be 150,000 files.
LIMITS = {
    "max_buffer_size": 1 << 30,
    "max_pieces": 1 << 21,
    "max_decode_depth": 100,
    "max_decode_tokens": 1 << 26,
}


def settings(lt: "Any", slots: int, asked: int) -> "Dict[str, Any]":
    """Those of a session that serves so many at one time, and tells what is to be known.

    `asked`: for how many blocks each of these may ask ahead; 0: for as many as it is by libtorrent's own.
    """
    found: "Dict[str, Any]" = dict(_TCP_ONLY, **_EAGER)
    found.update(_OTHERS, unchoke_slots_limit=slots, alert_mask=_told(lt))
    if (
        asked
    ):  # each libtorrent that connects is told that, and keeps to it: its own settings say what is beyond
        found["max_allowed_in_request_queue"] = asked
    return found


def alarmed(lt: "Any") -> "Dict[str, Any]":
    """What is otherwise once there was a damaged piece (see banned)."""
    kinds = lt.alert.category_t
    more = kinds.block_progress_notification | kinds.piece_progress_notification | kinds.connect_notification
    return dict(ALARMED, alert_mask=_told(lt) | int(more))


def _told(lt: "Any") -> int:
    kinds = lt.alert.category_t
    told = kinds.error_notification | kinds.status_notification | kinds.storage_notification
    return int(told | kinds.tracker_notification | kinds.connect_notification | kinds.peer_notification)
