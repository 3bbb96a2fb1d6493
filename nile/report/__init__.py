"""Renderers: subscribers of a run's events that write them for people and for programs."""

from nile.report.diff import Diff
from nile.report.exits import exit_code
from nile.report.fold import Fold, Style
from nile.report.folding import folded, heading
from nile.report.jsonlines import JsonLines
from nile.report.live import Live
from nile.report.progress import Progress
from nile.report.renderer import Renderer, Several
from nile.report.screen import Screen, Sink
from nile.report.summary import Summary

__all__ = [
    "Diff",
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
    "exit_code",
    "folded",
    "heading",
]
