"""The root's cascade machine: it holds the state of every host and takes every decision."""

from nile.cascade.actions import Action, Adopt, Carry, Finish, Publish, ReadStdin, Send, Sign
from nile.cascade.heritage import Heritage, Known
from nile.cascade.inputs import (
    Committed,
    FrameReceived,
    Input,
    Interrupted,
    Signed,
    Started,
    StdinEnded,
    StdinRead,
    Ticked,
)
from nile.cascade.machine import BEATS_TO_NOTE, Cascade
from nile.cascade.orders import CascadeOptions

__all__ = [
    "BEATS_TO_NOTE",
    "Action",
    "Adopt",
    "Carry",
    "Cascade",
    "CascadeOptions",
    "Committed",
    "Finish",
    "FrameReceived",
    "Heritage",
    "Input",
    "Interrupted",
    "Known",
    "Publish",
    "ReadStdin",
    "Send",
    "Sign",
    "Signed",
    "Started",
    "StdinEnded",
    "StdinRead",
    "Ticked",
]
