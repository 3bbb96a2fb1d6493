"""Renderers: subscribers of a run's events that write them for people and for programs."""

from nile.report.compose import Style, renderer_for
from nile.report.exits import exit_code
from nile.report.fold import Fold
from nile.report.folding import folded, heading
from nile.report.jsonlines import JsonLines
from nile.report.live import Live
from nile.report.progress import Progress
from nile.report.renderer import Renderer, Several
from nile.report.screen import Screen, Sink
from nile.report.summary import Summary
from nile.report.ticking import Ticking

__all__ = [
    "Fold",
    "JsonLines",
    "Live",
    "Progress",
    "Renderer",
    "Screen",
    "Several",
    "Sink",
    "Style",
    "Summary",
    "Ticking",
    "exit_code",
    "folded",
    "heading",
    "renderer_for",
]
