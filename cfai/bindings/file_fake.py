"""A fake for servers: every model answers, and the file that scripts some of the answers may be edited meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cfai.binding import Call, Reply
from cfai.bindings.answers_file import AnswersError, Rule, read_answers, unknown_models
from cfai.bindings.fake import FakeBinding

__all__ = ["FileFake"]


class FileFake:
    """Answer with the fake that `make` makes and with the answers of `file`, which is read again when it has changed.

    ```python
    FileFake(Path("answers.json"), make=FakeBinding.plausible)
    ```

    make       makes a fake, for the answers of one reading
    on_notice  called with a line that the user should see: an answer for a model that there is not, a file that cannot
               be read any more, whose former answers stay

    Raises `AnswersError` for a file that cannot be read from the beginning. Calls are not remembered: a server goes on.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        make: Callable[[], FakeBinding],
        on_notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._file = file
        self._make = make
        self._on_notice = on_notice
        self._read_at = _version(file)
        self._fake = self._scripted([] if file is None else read_answers(file))

    async def send(self, call: Call) -> Reply:
        self._read_again()
        self._fake.calls.clear()
        return await self._fake.send(call)

    async def models_here(self) -> list[str]:
        return await self._fake.models_here()

    async def aclose(self) -> None:
        await self._fake.aclose()

    def _read_again(self) -> None:
        version = _version(self._file)
        if self._file is None or version == self._read_at:
            return
        self._read_at = version
        try:
            self._fake = self._scripted(read_answers(self._file))
        except AnswersError as error:
            self._on_notice(f"{error}; the former answers stay")
        else:
            self._on_notice(f"{self._file} has changed and was read again")

    def _scripted(self, rules: list[Rule]) -> FakeBinding:
        fake = self._make()
        for problem in unknown_models(rules, fake.catalog):
            self._on_notice(f"{self._file}: {problem}")
        for rule in rules:
            if rule.fits is None:
                fake.answers[rule.model] = rule.answer
            else:
                fake.when(rule.fits, model=rule.model).answers(rule.answer)
        return fake


def _version(file: Path | None) -> tuple[int, int] | None:
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found is not None else None
