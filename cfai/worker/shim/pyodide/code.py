"""`pyodide.code`: Python from text, and calls with more arguments than a function takes."""

import ast
import inspect
from collections.abc import Callable
from functools import wraps
from types import CodeType
from typing import Any, NoReturn

__all__ = [
    "CodeRunner",
    "eval_code",
    "eval_code_async",
    "find_imports",
    "relaxed_call",
    "relaxed_wrap",
    "run_js",
    "should_quiet",
]

_RESULT = "_"


def should_quiet(source: str, /) -> bool:
    """Whether the last line of `source` ends with a semicolon, as in a notebook."""
    return source.rstrip().endswith(";")


class CodeRunner:
    """Text as Python, to be run once or more often. The value of its last expression is the result."""

    def __init__(
        self,
        source: str,
        *,
        return_mode: str = "last_expr",
        mode: str = "exec",
        quiet_trailing_semicolon: bool = True,
        filename: str = "<exec>",
        flags: int = 0x0,
        dont_inherit: bool = False,
        optimize: int = -1,
    ) -> None:
        if return_mode not in ("last_expr", "last_expr_or_assign", "none"):
            raise ValueError(f"Unrecognized return_mode {return_mode!r}")
        self.ast = ast.parse(inspect.cleandoc(source) if source[:1].isspace() else source, filename=filename)
        self.code: CodeType | None = None
        self._keeps = return_mode != "none" and not (quiet_trailing_semicolon and should_quiet(source))
        self._takes_assignments = return_mode == "last_expr_or_assign"
        self._how: dict[str, Any] = {
            "filename": filename,
            "mode": "exec",
            "flags": flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            "dont_inherit": dont_inherit,
            "optimize": optimize,
        }

    def compile(self) -> "CodeRunner":
        body = self.ast.body
        last = body[-1] if body else None
        if self._keeps and self._takes_assignments and isinstance(last, ast.Assign):
            target = last.targets[0]
            if isinstance(target, ast.Name):
                body.append(ast.Expr(ast.Name(target.id, ast.Load())))
                last = body[-1]
        if self._keeps and isinstance(last, ast.Expr):
            body[-1] = ast.Assign([ast.Name(_RESULT, ast.Store())], last.value)
        ast.fix_missing_locations(self.ast)
        self.code = compile(self.ast, **self._how)
        return self

    def run(self, globals: dict[str, Any] | None = None, locals: dict[str, Any] | None = None) -> Any:  # noqa: A002
        names = self._begin(globals, locals)
        assert self.code is not None  # _begin has compiled it
        if inspect.CO_COROUTINE & self.code.co_flags:
            raise SyntaxError("'await' outside function; eval_code_async takes code that awaits")
        exec(self.code, globals if globals is not None else names, names)
        return names.pop(_RESULT, None)

    async def run_async(
        self,
        globals: dict[str, Any] | None = None,  # noqa: A002  # Pyodide's names
        locals: dict[str, Any] | None = None,  # noqa: A002  # as above
    ) -> Any:
        names = self._begin(globals, locals)
        assert self.code is not None  # as above
        result = eval(self.code, globals if globals is not None else names, names)
        if inspect.iscoroutine(result):
            await result
        return names.pop(_RESULT, None)

    def _begin(self, globals: Any, locals: Any) -> dict[str, Any]:  # noqa: A002
        if self.code is None:
            self.compile()
        names: dict[str, Any] = locals if locals is not None else globals if globals is not None else {}
        names.pop(_RESULT, None)
        return names


def eval_code(
    source: str,
    globals: dict[str, Any] | None = None,  # noqa: A002  # Pyodide's names
    locals: dict[str, Any] | None = None,  # noqa: A002  # as above
    **how: Any,
) -> Any:
    """Run `source` and return the value of its last expression."""
    return CodeRunner(source, **how).compile().run(globals, locals)


async def eval_code_async(
    source: str,
    globals: dict[str, Any] | None = None,  # noqa: A002  # Pyodide's names
    locals: dict[str, Any] | None = None,  # noqa: A002  # as above
    **how: Any,
) -> Any:
    """As `eval_code`, for code that awaits."""
    return await CodeRunner(source, **how).compile().run_async(globals, locals)


def find_imports(source: str) -> list[str]:
    """The modules that `source` imports, by their first names."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return sorted({name.partition(".")[0] for name in names})


def run_js(code: str, /) -> NoReturn:
    """Not possible: there is no JavaScript here. Workers refuse to run text as code too."""
    if not isinstance(code, str):
        raise TypeError(f"argument should have type 'string' not type '{type(code).__name__}'")
    raise NotImplementedError("run_js needs JavaScript; this Worker runs on CPython, without one")


def relaxed_wrap(func: Callable[..., Any], /) -> Callable[..., Any]:
    """`func`, called without the arguments that it does not take."""

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return relaxed_call(func, *args, **kwargs)

    return wrapper


def relaxed_call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `func` without the arguments that it does not take."""
    parameters = inspect.signature(func).parameters.values()
    kinds = {one.kind for one in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        args = args[: sum(one.kind in positional for one in parameters)]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        names = {one.name for one in parameters}
        kwargs = {name: value for name, value in kwargs.items() if name in names}
    return func(*args, **kwargs)
