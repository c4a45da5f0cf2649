"""`Promise`, as a script makes and combines it."""

from __future__ import annotations

import pytest

from cfai.worker.web.errors import JsException
from cfai.worker.web.promises import Promise


async def test_an_executor_settles_or_fails() -> None:
    assert await Promise.new(lambda settle, fail: settle(3)) == 3
    with pytest.raises(JsException, match="no"):
        await Promise.new(lambda settle, fail: fail("no"))

    def raises(settle: object, fail: object) -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        await Promise.new(raises)


async def test_what_comes_after() -> None:
    assert await Promise.resolve(1).then(lambda value: value + 1) == 2
    assert await Promise.reject("no").catch(lambda error: str(error)) == "Error: no"
    ended: list[str] = []
    assert await Promise.resolve(1).finally_(lambda: ended.append("ended")) == 1
    assert ended == ["ended"]
    with pytest.raises(JsException, match="undefined"):
        await Promise.reject()


async def test_many_at_once() -> None:
    assert list(await Promise.all([Promise.resolve(1), 2])) == [1, 2]
    settled = await Promise.allSettled([Promise.resolve(1), Promise.reject("no")])
    assert [one.status for one in settled] == ["fulfilled", "rejected"]
    assert await Promise.race([Promise.pending(), Promise.resolve("first")]) == "first"
    assert await Promise.any([Promise.reject("no"), Promise.resolve("any")]) == "any"
    with pytest.raises(JsException, match="All promises were rejected"):
        await Promise.any([Promise.reject("no")])
