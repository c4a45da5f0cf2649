"""The answers that a fake has been told, each with how often it was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import PurePath
from typing import Any

from cfai.bindings.script import Answer, InTurn, check_answer
from cfai.wording import shortened

__all__ = ["Answers", "Predicate", "Registered", "When", "described"]

Predicate = Callable[[Any], object]
"""What looks at the inputs of a call, and says whether it is meant."""

LONGEST_SHOWN = 70


class Registered:
    """One answer, and how many calls got it.

    place      how the test wrote it, for messages
    model      the id of the model that it is for; None for all
    predicate  what else must hold
    """

    def __init__(self, answer: Answer, place: str, model: str | None, predicate: Predicate | None = None) -> None:
        check_answer(answer)
        self.answer = answer
        self.place = place
        self.model = model
        self.uses = 0
        self._predicate = predicate

    def why_not(self, names: Iterable[str], inputs: Any) -> str:
        """Why it is not the answer to a call to a model of these names; "" if it is."""
        if self.model is not None and self.model not in names:
            return "another model"
        if self._predicate is not None:
            try:
                if not self._predicate(inputs):
                    return "its predicate says no"
            except Exception as error:  # a predicate on `prompt` meets inputs with `messages`
                return f"its predicate raised {type(error).__name__}: {error}"
        if self.peek() is not None:
            return ""
        return "its answer is used up" if self.uses == 1 else f"all {self.uses} answers are used up"

    def peek(self) -> Answer | None:
        """The answer to the next call, if there is one."""
        return self.answer.at(self.uses) if isinstance(self.answer, InTurn) else self.answer

    def take(self) -> Answer:
        """The answer to this call."""
        answer = self.peek()
        assert answer is not None
        self.uses += 1
        return answer

    @property
    def unused(self) -> str:
        """What no call got; "" if there is nothing."""
        if isinstance(self.answer, InTurn) and 0 < self.uses < len(self.answer.each):
            return f"{self}, {len(self.answer.each) - self.uses} of its {len(self.answer.each)} answers"
        return "" if self.uses else str(self)

    def __str__(self) -> str:
        return f"{self.place} = {described(self.answer)}"


class Answers(MutableMapping[str, Answer]):
    """Answers by the id of the model; giving one anew forgets how often the old one was used."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._registered: dict[str, Registered] = {}
        self.update(answers)

    def __getitem__(self, model: str) -> Answer:
        return self._registered[model].answer

    def __setitem__(self, model: str, answer: Answer) -> None:
        if not isinstance(model, str):
            raise TypeError(f"answers go by the id of a model, which is a text, not {model!r:.80}")
        self._registered[model] = Registered(answer, f"answers[{model!r}]", model)

    def __delitem__(self, model: str) -> None:
        del self._registered[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registered)

    def __len__(self) -> int:
        return len(self._registered)

    def __repr__(self) -> str:
        return f"{dict(self)}"

    def registered(self) -> Iterable[Registered]:
        """Every answer with its uses."""
        return self._registered.values()

    def of(self, model: str) -> Registered | None:
        """The answer for that very id."""
        return self._registered.get(model)


class When:
    """The inputs that an answer is for; `answers` says which."""

    def __init__(self, predicate: Predicate, model: str | None, registered: list[Registered]) -> None:
        if not callable(predicate) or inspect.iscoroutinefunction(predicate):
            raise TypeError(f"when() takes a function of the inputs that is not async, not {predicate!r:.80}")
        self._predicate = predicate
        self._model = model
        self._registered = registered

    def answers(self, answer: Answer) -> None:
        """Answer so, to every call whose inputs fit; of several that fit, the first that was written counts."""
        name = _name_of(self._predicate)
        place = f"when({name})" if self._model is None else f"when({name}, model={self._model!r})"
        self._registered.append(Registered(answer, place, self._model, self._predicate))


def described(value: object) -> str:
    """A value in a line of a message, not too long."""
    if callable(value):
        return _name_of(value)
    shown = f"in_turn({', '.join(map(described, value.each))})" if isinstance(value, InTurn) else repr(value)
    return shortened(shown, LONGEST_SHOWN)


def _name_of(function: object) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    return name if code is None else f"{name} of {PurePath(code.co_filename).name}:{code.co_firstlineno}"
