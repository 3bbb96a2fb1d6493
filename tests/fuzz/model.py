"""What all fuzzed models have in common: steps, rules that hold after each, and an end.

A model drives real code and knows, on its own, what may come of it. The same
steps are walked by a coverage-guided fuzzer (bytes choose) and by hypothesis
(which makes a failing walk short enough to read).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.fuzz.choices import Choices, Drawn, FromBytes

MOST_STEPS = 400


class Model(ABC):
    """Constructed from choices; `STEPS` are the names of its methods that take choices."""

    STEPS: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, choices: Choices) -> None: ...

    @property
    @abstractmethod
    def over(self) -> bool:
        """Can nothing more happen?"""

    @abstractmethod
    def check(self) -> None:
        """Assert what holds after every step."""

    @abstractmethod
    def finish(self) -> None:
        """Bring it to an end, and assert what holds then."""

    def step(self, name: str, choices: Choices) -> None:
        """Take one step, unless all is over."""
        if not self.over:
            getattr(self, name)(choices)
            self.check()


def walk(kind: type[Model], data: bytes) -> None:
    """Walk through a model as the bytes say; raises AssertionError where a rule is broken."""
    choices = FromBytes(data)
    model = kind(choices)
    for _ in range(MOST_STEPS):
        if model.over or not choices.left:
            break
        model.step(choices.pick(model.STEPS), choices)
    if not model.over:
        model.finish()


def state_machine(kind: type[Model]) -> type[RuleBasedStateMachine]:
    """The same for hypothesis: a rule for every step."""

    def begin(self: Any, data: st.DataObject) -> None:
        self.model = kind(Drawn(data))

    def teardown(self: Any) -> None:
        model = getattr(self, "model", None)
        if model is not None and not model.over:
            model.finish()

    def ruled(name: str) -> Any:
        def step(self: Any, data: st.DataObject) -> None:
            model, self.model = self.model, None  # one that broke has no end to be checked
            if model is not None:
                model.step(name, Drawn(data))
                self.model = model

        step.__name__ = name
        return rule(data=st.data())(step)

    body: dict[str, Any] = {name: ruled(name) for name in kind.STEPS}
    body["begin"] = initialize(data=st.data())(begin)
    body["teardown"] = teardown
    return type(f"{kind.__name__}Machine", (RuleBasedStateMachine,), body)
