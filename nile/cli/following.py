"""A run that is under way, for whoever looks on: what it shows, and the exit code that it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nile.cli.caution import is_at_terminal
from nile.cli.enter import Enter
from nile.cli.showing import bodies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nile.cli.question import Question
    from nile.cli.secrets import Password
    from nile.control import Control
    from nile.controller import Engine
    from nile.errors import StoreError
    from nile.events import Event, HostResult, SecretAsked
    from nile.report import Renderer, Screen
    from nile.report.outdir import OutDir
    from nile.store import Store

HINT = "; Enter says who is out"
IDLE_S = 0.2
"""How often the status line is looked after while nothing happens."""


def finish(screen: Screen, show: Show, unrecorded: StoreError | None, given: dict[str, Any]) -> int:
    """The exit code of a run that was shown; `unrecorded` is what kept the store from having all of it."""
    from nile.report import exit_code

    code = exit_code(show.results, largest_rc=given["largest_rc"], interrupted=show.interrupted)
    if unrecorded is not None:
        screen.err.write(f"nile: the record of this run is not complete: {unrecorded}\n")
        return max(1, code)
    if show.outdir is not None and show.outdir.failure is not None:
        why = show.outdir.failure.strerror
        screen.err.write(
            f"nile: --outdir: not all could be written: {why}\n  `nile logs RUN` has all of it\n"
        )
        code = max(1, code)
    if (leaving := given.get("leaving")) is not None:
        leaving.forget()
    return code


class Show:
    """What the user sees of a run, and what the exit code is made of."""

    def __init__(
        self,
        screen: Screen,
        store: Store,
        run_id: str,
        given: dict[str, Any],
        known: Sequence[HostResult] = (),
    ) -> None:
        """`known` are the verdicts that there were before."""
        from nile.cli.background import Departure
        from nile.report import JsonLines, Progress, Several, Summary

        self.results: list[HostResult] = []
        self.interrupted = False
        self._question: Question | None = None
        """What the user was asked and hasn't answered."""
        self._password: Password | None = None
        """And what is to be typed."""
        people = not (given["as_json"] or given.get("leaving"))
        # Where a program reads what is shown, the keys may be that one's (`| less`).
        wanted = people and screen.out.terminal and is_at_terminal(stdin=given.get("stdin", False))
        self._enter = Enter(wanted=wanted)
        self._known = known
        self._screen = screen
        self._progress = None if given["quiet"] or given["as_json"] else Progress(screen, hint=HINT * wanted)
        renderers: list[Renderer] = []
        if given["as_json"]:
            renderers.append(JsonLines(screen, store.output_reader(run_id)))
        else:
            renderers += bodies(screen, store.chunk_reader(run_id), given)
            renderers.append(Summary(screen, quiet=given["quiet"]))
        self.outdir: OutDir | None = None
        if given.get("outdir"):
            from nile.report.outdir import OutDir

            self.outdir = OutDir(Path(given["outdir"]))
            renderers.append(self.outdir)
        if self._progress is not None:  # last: what the others write erases its line
            renderers.append(self._progress)
        self._leaves = (leaving := given.get("leaving")) is not None
        if leaving is not None:
            renderers.append(Departure(screen, run_id, leaving, lambda: self._password is not None))
        self._renderer = Several(renderers)

    def follow(self, engine: Engine, control: Control, grace_s: float) -> StoreError | None:
        """Run the engine and show its events, until the end; what kept the store from recording all of it.

        Meanwhile `control` answers for it, to other terminals.
        """
        from nile.cli.interrupts import Interrupts
        from nile.cli.question import Question
        from nile.errors import StoreError, TakenOverError
        from nile.events import Asked, SecretAsked

        serving = control.serving(
            engine.interrupt, engine.conclude, engine.limit, engine.steer, engine.outstanding
        )
        with serving, Interrupts(engine.interrupt, grace_s, self._say) as interrupts:
            self._look_at(control)
            try:
                for event in engine.events(IDLE_S, grace_s):
                    interrupts.wait_while_paused()
                    self._handle(event)
                    if isinstance(event, Asked):
                        self._question = Question(event.text, event.number, self._say)
                    elif isinstance(event, SecretAsked):
                        self._ask_password(engine, event)
                    if self._question is None and self._password is None and self._enter.pressed():
                        self._say_who_is_out(control)
                    self._look_for_password(engine)
                    if self._question and (said := self._question.answer()) is not None:
                        engine.answer(self._question.number, said)
                        self._question = None
                failure = None
            except TakenOverError:
                raise
            except StoreError as error:  # raised once all is over
                failure = error
            finally:
                self._forget_password()
            self._renderer.finish()
        return failure

    def _ask_password(self, engine: Engine, event: SecretAsked) -> None:
        from nile.cli.secrets import Password

        # A line of its own: the one behind it is written over, again and again.
        how = f"{event.host} asks for it; what you type isn't shown, an empty line is none"
        prompt = f"nile: sudo's password, to run it as {event.user}? ({how})\n"
        try:
            self._password = Password(prompt, self._say)
        except OSError:
            engine.password(None, "there is no terminal to ask for it")

    def _look_for_password(self, engine: Engine) -> None:
        if self._password is not None and (typed := self._password.typed()) is not None:
            self._forget_password()
            engine.password(typed or None)

    def _forget_password(self) -> None:
        if self._password is not None:
            self._password.close()
            self._password = None

    def _look_at(self, control: Control) -> None:
        """Where nobody can ask it from elsewhere, that is said; UsageError where it is to go on by itself."""
        from nile.errors import UsageError

        if control.trouble and self._leaves:
            remedy = "see that you can write there, and nobody else; `nile swarm run` stays at its terminal"
            raise UsageError(f"no other terminal could end it: {control.trouble}", remedy=remedy)
        if control.trouble:
            self._say(f"nile: no other terminal can look at this run, or end it: {control.trouble}\n")

    def _say_who_is_out(self, control: Control) -> None:
        from nile.cli.underway import describe

        self._say("".join(f"nile: {line}\n" for line in describe(control.status())))

    def _handle(self, event: Event | None) -> None:
        from nile.events import HostResult, RunEnded, RunStarted

        if event is None:
            if self._progress is not None:
                self._progress.tick()
            return
        if isinstance(event, HostResult):
            self.results.append(event)
        elif isinstance(event, RunEnded):
            self.interrupted = event.interrupted
        self._renderer.handle(event)
        if isinstance(event, RunStarted):
            for result in self._known:
                self._handle(result)

    def _say(self, text: str) -> None:
        self._screen.err.write(text)
        self._screen.flush()
