"""Module-level handlers of before 2025-08-14, with their raw JavaScript objects."""

from typing import Any

from tests.worker.differential.case import Case

__all__ = ["CASES"]


def _is_legacy(generation: Any) -> bool:
    return not generation.has_class_handlers


def _raw(name: str, *expressions: str, setup: str = "", **options: Any) -> Case:
    """A raw handler that tells what each expression gives."""
    lines = [
        "import json",
        "import js",
        "from pyodide.ffi import JsException, JsProxy, to_js",
        "async def on_fetch(request, env, ctx):",
        "    found = {}",
        *(f"    {line}" for line in setup.splitlines()),
    ]
    for expression in expressions:
        lines += [
            "    try:",
            f"        value = {expression}",
            "        is_js = isinstance(value, JsProxy)",
            f"        found[{expression!r}] = f'js {{value.constructor.name}}' if is_js else repr(value)",
            "    except JsException as error:",
            f"        found[{expression!r}] = f'raises JsException {{error.name}}'",
            "    except Exception as error:",
            f"        found[{expression!r}] = f'raises {{type(error).__name__}}: {{error}}'",
        ]
    lines.append("    return js.Response.new(json.dumps(found))")
    return Case(name, "\n".join(lines) + "\n", when=_is_legacy, tells=True, **options)


CASES = (
    _raw(
        "a_raw_request",
        "request",
        "request.method",
        "type(request.method).__name__",
        "request.url",
        "type(request.url).__name__",
        "request.headers['x-a']",
        "request.headers['X-A']",
        "request.headers['none']",
        "request.headers.get('x-a')",
        "request.headers.get('none')",
        "'x-a' in request.headers",
        "'none' in request.headers",
        "sorted(dict(request.headers).items())",
        "sorted(tuple(pair) for pair in request.headers)",
        "request.headers.has('x-a')",
        "request.bodyUsed",
        "request.body",
        "request.cf.colo",
        "request.nope",
        "hasattr(request, 'nope')",
        "request['url']",
        "request.redirect",
        "request.js_object",
        "request.body_used",
        "await request.text()",
        "await request.text()  # again",
        "request.bodyUsed  # now",
        method="POST",
        path="/a?b=1",
        headers=(("x-a", "1"), ("X-B", "a, b")),
        body=b"text",
    ),
    _raw(
        "raw_json",
        "body",
        "body.a",
        "body.list[0]",
        "body.list",
        "body.nothing",
        "body.nope",
        "body['a']",
        "'a' in body",
        "len(body)",
        "body.get('a')",
        "body.to_py()",
        "dict(body)",
        "json.dumps(body)",
        "js.JSON.stringify(body)",
        "list(js.Object.keys(body))",
        "[tuple(pair) for pair in js.Object.entries(body)][0]",
        "body.object_keys().to_py()",
        "body.items",
        "hasattr(body, 'to_py')",
        "bool(body)",
        "str(body)",
        "body.typeof",
        "[one for one in body]",
        setup="body = await request.json()",
        method="POST",
        body=b'{"a": 1, "list": [1, {"b": 2}], "nothing": null, "items": 5}',
    ),
    _raw("raw_json_that_is_none", "await request.json()", method="POST", body=b"{nope"),
    _raw(
        "a_raw_env",
        "env.GREETING",
        "env.NUMBER",
        "env.HALF",
        "env.TRUTH",
        "env.FLAGS.beta",
        "env.FLAGS.to_py()",
        "env.NOPE",
        "getattr(env, 'NOPE', None)",
        "hasattr(env, 'NOPE')",
        "env['GREETING']",
        "env._env",
        "list(js.Object.keys(env))[0]",
        "(await env.AI.run('@cf/json', to_js({'prompt': 'hi'}, dict_converter=js.Object.fromEntries))).response",
        "ctx.waitUntil(js.Promise.resolve(1))",
        "ctx.passThroughOnException()",
    ),
    Case(
        "a_raw_response_of_a_function",
        "import js\ndef on_fetch(request, env):\n    return js.Response.new('raw', status=203)\n",
        when=_is_legacy,
    ),
    Case(
        "a_response_of_the_sdk",
        "from workers import Response\ndef on_fetch(request):\n    return Response('sdk', headers={'x-a': '1'})\n",
        when=_is_legacy,
    ),
    Case("a_raw_text", "def on_fetch(request):\n    return 'text'\n", when=_is_legacy),
    Case("a_raw_nothing", "def on_fetch(request):\n    pass\n", when=_is_legacy),
    Case("a_raw_error", "def on_fetch(request):\n    raise ValueError('raw')\n", when=_is_legacy),
    Case(
        "a_handler_with_everything",
        "import js\ndef on_fetch(request, env, ctx, more=5):\n    return js.Response.new(str(more))\n",
        when=_is_legacy,
    ),
    Case("a_handler_with_nothing", "import js\ndef on_fetch():\n    return js.Response.new('bare')\n", when=_is_legacy),
    Case(
        "workers_under_its_old_name",
        "from cloudflare.workers import Response\ndef on_fetch(request):\n    return Response('old')\n",
        when=lambda generation: False,
    ),
)
