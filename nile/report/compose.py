"""Which renderers a run gets."""

from __future__ import annotations

from dataclasses import dataclass

from nile.report.fold import Fold, ReadChunks
from nile.report.jsonlines import JsonLines, ReadOutput
from nile.report.live import Live
from nile.report.progress import Progress
from nile.report.renderer import Renderer, Several
from nile.report.screen import Screen
from nile.report.summary import Summary
from nile.report.ticking import Ticking


@dataclass(frozen=True, slots=True)
class Style:
    """How a run is shown: `--json`, `-b`, `-q`."""

    json: bool = False
    fold: bool = False
    quiet: bool = False


def renderer_for(style: Style, screen: Screen, read_output: ReadOutput, read_chunks: ReadChunks) -> Renderer:
    """The renderer of a run.

    JSON has standard output to itself and needs no summary beside it: its
    lines have all that one says. The status line is for terminals, and not
    for who asked for quiet; where JSON lines scroll by it would only disturb.
    """
    if style.json:
        renderers: list[Renderer] = [JsonLines(screen, read_output)]
    else:
        output = Fold(screen, read_chunks) if style.fold else Live(screen)
        renderers = [output, Summary(screen, quiet=style.quiet)]
    if style.quiet or not screen.has_status or (style.json and screen.out.terminal):
        return Several(renderers)
    progress = Progress(screen)
    return Ticking(Several([*renderers, progress]), progress.tick)
