"""`env`: the bindings and vars of a Worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.proxies import JsProxy, is_ours, refused
from cfai.worker.web.values import as_js

__all__ = ["Env", "NotSimulated", "WrappedEnv", "as_entrypoints_see_it", "as_the_module_has_it"]


class NotSimulated(NotImplementedError):
    """The script uses a binding that its config declares and cfai does not have."""


class _Declared:
    """Such a binding: a script may see that it is there, as on Cloudflare, and is told when it uses it."""

    def __init__(self, name: str, kind: str) -> None:
        self.__dict__["_problem"] = f"env.{name}: {kind} bindings are not simulated"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions
            raise AttributeError(name)
        raise NotSimulated(self._problem)

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise NotSimulated(self._problem)

    def __setattr__(self, name: str, value: Any) -> None:
        raise NotSimulated(self._problem)

    def __repr__(self) -> str:
        return f"<{self._problem}>"


class Env(JsProxy):
    """Bindings and vars by name, as JavaScript has them: `env.AI`, `getattr(env, "X", None)`.

    Strings and numbers are Python's, JSON vars are JavaScript objects. Its repr shows names, never values.
    """

    js_name = "Object"

    def __init__(
        self,
        bindings: Mapping[str, Any],
        variables: Mapping[str, Any] | None = None,
        not_simulated: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.__dict__["_not_simulated"] = dict(not_simulated)
        self.__dict__.update(bindings)
        for name, value in (variables or {}).items():
            self.__dict__.setdefault(name, as_js(value))

    @property
    def _env(self) -> Env:
        if not is_ours():
            idiom = "env._env, which the external SDK has (from 2026-04-21 on),"
            current().lenient(idiom, lambda: AttributeError("_env"))
        return self

    def __getattr__(self, name: str) -> Any:
        if kind := self.__dict__["_not_simulated"].get(name):
            return _Declared(name, kind)
        raise self._missing(name)

    def _missing(self, name: str) -> AttributeError:
        error = AttributeError(name, name=name)
        has = ", ".join(self._names) or "nothing"
        error.add_note(f"env has no {name!r} (it has: {has}); bindings and vars come from the wrangler config")
        return error

    def __getitem__(self, name: str) -> Any:
        refusal = refused("object is not subscriptable")
        current().lenient(f"env[{name!r}]", refusal, kind="env[...]", instead=instead.member_of("env", name))
        return getattr(self, name)

    @property
    def _names(self) -> list[str]:
        return [name for name in self.__dict__ if name != "_not_simulated"]

    def js_members(self) -> Mapping[str, Any]:
        """What `js.Object.keys(env)` finds."""
        return {name: self.__dict__[name] for name in self._names}

    def __str__(self) -> str:
        return "[object Object]"

    def __repr__(self) -> str:
        return f"Env({', '.join(self._names)})"


class WrappedEnv:
    """`env` as the SDK wraps it: bindings take and give Python's own values. What is set on it stays on it."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._wraps_all = current().compat.has_external_sdk

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._env, name)
        kind = type(value)
        if hasattr(kind, "wrapped") and (self._wraps_all or hasattr(kind, "is_wrapped_by_every_sdk")):
            value = value.wrapped()
        self.__dict__[name] = value
        return value

    def __getitem__(self, name: str) -> Any:
        problem = "'_EnvWrapper' object is not subscriptable"
        remedy = instead.member_of("env", name)
        current().lenient(f"env[{name!r}]", lambda: TypeError(problem), kind="env[...]", instead=remedy)
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        problem = f"argument of type '_EnvWrapper' is not {current().compat.not_a_container}"
        remedy = f"hasattr(env, {name!r})"
        current().lenient(f"{name!r} in env", lambda: TypeError(problem), kind="... in env", instead=remedy)
        return hasattr(self, name)

    def __repr__(self) -> str:
        return repr(self._env)


# The name that Python's own messages give it there.
WrappedEnv.__name__ = "_EnvWrapper"


def as_entrypoints_see_it(env: Env | WrappedEnv) -> WrappedEnv:
    """`env` for an entrypoint, or a function with `@handler`."""
    return env if isinstance(env, WrappedEnv) else WrappedEnv(env)


def as_the_module_has_it(env: Env) -> Env | WrappedEnv:
    """`workers.env`, which the built-in SDK leaves as JavaScript has it."""
    return WrappedEnv(env) if current().compat.has_external_sdk else env
