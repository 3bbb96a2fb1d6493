"""A run under way, seen and ended from another terminal: a socket that only its user can open.

standing    where each host stands, told from events          pure
words       what both ends say to each other                  pure
server      beside the run: answers whoever connects
client      the other end
"""

from nile.control.client import NoAnswerError, RefusedError, Remote
from nile.control.server import Control
from nile.control.standing import Standing

__all__ = ["Control", "NoAnswerError", "RefusedError", "Remote", "Standing"]
