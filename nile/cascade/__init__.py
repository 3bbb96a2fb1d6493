"""The root's cascade machine: it holds the state of every host and takes every decision."""

from nile.cascade.actions import (
    Action,
    Adopt,
    Carry,
    Finish,
    Listen,
    Publish,
    ReadStdin,
    Send,
    Sign,
    TellRoot,
)
from nile.cascade.heritage import Heritage, Known
from nile.cascade.inputs import (
    Answered,
    Committed,
    FrameReceived,
    Input,
    Interrupted,
    Listening,
    RootSaid,
    RootWorkerEnded,
    Signed,
    Started,
    StdinEnded,
    StdinRead,
    Ticked,
)
from nile.cascade.machine import BEATS_TO_NOTE, Cascade
from nile.cascade.orders import CascadeOptions
from nile.cascade.work import Errand, Job, Tell, Worker

__all__ = [
    "BEATS_TO_NOTE",
    "Action",
    "Adopt",
    "Answered",
    "Carry",
    "Cascade",
    "CascadeOptions",
    "Committed",
    "Errand",
    "Finish",
    "FrameReceived",
    "Heritage",
    "Input",
    "Interrupted",
    "Job",
    "Known",
    "Listen",
    "Listening",
    "Publish",
    "ReadStdin",
    "RootSaid",
    "RootWorkerEnded",
    "Send",
    "Sign",
    "Signed",
    "Started",
    "StdinEnded",
    "StdinRead",
    "Tell",
    "TellRoot",
    "Ticked",
    "Worker",
]
