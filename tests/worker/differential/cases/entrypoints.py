"""Which handler answers, how it is called, and what it sees."""

from tests.worker.differential.case import Case, probe

__all__ = ["CASES"]

HEAD = "from workers import Response, WorkerEntrypoint, handler\n"


def _class(name: str, body: str) -> Case:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return Case(name, f"{HEAD}\nclass Default(WorkerEntrypoint):\n{lines}\n")


CASES = (
    _class("fetch_of_a_class", "async def fetch(self, request):\n    return Response('fetch')"),
    _class("on_fetch_of_a_class", "async def on_fetch(self, request):\n    return Response('on_fetch')"),
    _class(
        "both_of_a_class",
        "async def fetch(self, request):\n    return Response('fetch')\n"
        "async def on_fetch(self, request):\n    return Response('on_fetch')",
    ),
    _class("fetch_without_a_request", "def fetch(self):\n    return Response('bare')\non_fetch = fetch"),
    _class(
        "fetch_with_env_and_ctx",
        "def fetch(self, request, env, ctx):\n    return Response(f'{env} {ctx}')\non_fetch = fetch",
    ),
    _class(
        "fetch_with_defaults",
        "def fetch(self, request, env=1, ctx=2, more=3):\n    return Response(f'{env} {ctx} {more}')\non_fetch = fetch",
    ),
    _class(
        "fetch_with_what_there_is",
        "def fetch(self, *args, **named):\n    return Response(f'{len(args)} {args[1:]} {named}')\non_fetch = fetch",
    ),
    _class(
        "fetch_with_too_much", "def fetch(self, request, env, ctx, more):\n    return Response('x')\non_fetch = fetch"
    ),
    _class(
        "a_static_fetch", "@staticmethod\ndef fetch(request):\n    return Response(request.method)\non_fetch = fetch"
    ),
    _class("a_fetch_that_is_a_value", "fetch = 5\non_fetch = 5"),
    _class(
        "an_init_of_ones_own",
        "def __init__(self, ctx, env):\n    super().__init__(ctx, env)\n    self.word = env.GREETING\n"
        "def fetch(self, request):\n    return Response(self.word + self.env.GREETING)\non_fetch = fetch",
    ),
    _class(
        "an_init_that_forgets_its_base",
        "def __init__(self, ctx, env):\n    pass\n"
        "def fetch(self, request):\n    return Response(self.env.GREETING)\non_fetch = fetch",
    ),
    _class(
        "an_init_without_arguments",
        "def __init__(self):\n    pass\ndef fetch(self, request):\n    return Response('x')\non_fetch = fetch",
    ),
    _class("an_async_init_of_nothing", "async def fetch(self, request):\n    pass\non_fetch = fetch"),
    _class("a_returned_text", "def fetch(self, request):\n    return 'text'\non_fetch = fetch"),
    _class("a_returned_dict", "def fetch(self, request):\n    return {'a': 1}\non_fetch = fetch"),
    _class("a_returned_number", "def fetch(self, request):\n    return 200\non_fetch = fetch"),
    _class("a_returned_tuple", "def fetch(self, request):\n    return ('x', 200)\non_fetch = fetch"),
    _class("returned_bytes", "def fetch(self, request):\n    return b'x'\non_fetch = fetch"),
    _class("a_returned_exception", "def fetch(self, request):\n    return ValueError('x')\non_fetch = fetch"),
    _class("a_returned_request", "def fetch(self, request):\n    return request\non_fetch = fetch"),
    _class("a_returned_class", "def fetch(self, request):\n    return Response\non_fetch = fetch"),
    _class("a_fetch_that_streams", "async def fetch(self, request):\n    yield 'x'\non_fetch = fetch"),
    Case(
        "a_class_of_another_name",
        f"{HEAD}\nclass Other(WorkerEntrypoint):\n    def fetch(self, request):\n        return Response('x')\n",
    ),
    Case(
        "a_default_of_no_kind", f"{HEAD}\nclass Default:\n    def fetch(self, request):\n        return Response('x')\n"
    ),
    Case("an_empty_class", f"{HEAD}\nclass Default(WorkerEntrypoint):\n    pass\n"),
    Case("an_empty_script", "x = 1\n"),
    Case(
        "an_inherited_fetch",
        f"{HEAD}\nclass Base(WorkerEntrypoint):\n    def fetch(self, request):\n        return Response(self.word())\n"
        "    on_fetch = fetch\n\n"
        "class Default(Base):\n    def word(self):\n        return 'derived ' + self.env.GREETING\n",
    ),
    Case(
        "a_function_for_a_handler",
        f"{HEAD}\nasync def on_fetch(request, env, ctx):\n    return Response(env.GREETING + request.method)\n",
    ),
    Case(
        "a_function_with_only_a_request",
        f"{HEAD}\ndef on_fetch(request):\n    return Response(request.method)\n",
    ),
    Case("a_function_called_fetch", f"{HEAD}\ndef fetch(request):\n    return Response('x')\n"),
    Case(
        "a_decorated_function",
        f"{HEAD}\n@handler\nasync def on_fetch(request, env, ctx):\n"
        "    return Response(f'{type(request).__name__} {env.GREETING} {request.method}')\n",
    ),
    Case(
        "a_decorated_function_with_only_a_request",
        f"{HEAD}\n@handler\nasync def on_fetch(request):\n    return Response(type(request).__name__)\n",
    ),
    Case(
        "a_class_and_a_function",
        f"{HEAD}\nclass Default(WorkerEntrypoint):\n    def fetch(self, request):\n        return Response('class')\n"
        "    on_fetch = fetch\n\ndef on_fetch(request):\n    return Response('function')\n",
    ),
    Case(
        "one_instance_per_request",
        f"{HEAD}\ncount = 0\n\nclass Default(WorkerEntrypoint):\n    def __init__(self, ctx, env):\n"
        "        global count\n        super().__init__(ctx, env)\n        count += 1\n"
        "    def fetch(self, request):\n        return Response(str(count))\n    on_fetch = fetch\n",
    ),
    probe(
        "env",
        "env.GREETING",
        "env.NUMBER",
        "type(env.NUMBER).__name__",
        "env.HALF",
        "env.TRUTH",
        "env.FLAGS.beta",
        "env.FLAGS.list[0]",
        "env.FLAGS.list[1].a",
        "env.FLAGS.items",
        "env.FLAGS.nope",
        "env.FLAGS",
        "env.FLAGS.to_py()",
        "env.NOPE",
        "hasattr(env, 'NOPE')",
        "hasattr(env, 'GREETING')",
        "getattr(env, 'NOPE', None)",
        "getattr(env, 'GREETING', None)",
        "env['GREETING']",
        "'GREETING' in env",
        "env.get('GREETING')",
        "len(env)",
        "bool(env)",
        "self.env is self.env",
        "env._env.GREETING",
        "hasattr(env, 'AI')",
        "hasattr(env.AI, 'run')",
        "setattr(env, 'LATE', 5) or env.LATE",
    ),
    probe(
        "env_of_the_module",
        "workers.env.GREETING",
        "module_env.GREETING",
        "at_import",
        "getattr(module_env, 'NOPE', None)",
        "js_workers.env.GREETING",
        "hasattr(js_workers, 'waitUntil')",
        "workers.import_from_javascript('cloudflare:sockets') is not None",
        "workers.import_from_javascript('cloudflare:nope')",
        "workers.nope",
        "module_env.FLAGS.list[1].a",
        setup=(
            "from workers import env as module_env\n"
            "at_import = module_env.GREETING\n"
            "js_workers = workers.import_from_javascript('cloudflare:workers')"
        ),
    ),
    probe(
        "a_patched_env",
        "patched",
        "workers.env.GREETING",
        "getattr(workers.env, 'EXTRA', None)",
        setup=(
            "from workers import patch_env\n"
            "with patch_env(GREETING='bye', EXTRA='more'):\n"
            "    patched = [workers.env.GREETING, workers.env.EXTRA]"
        ),
    ),
    probe(
        "ctx",
        "ctx.waitUntil(done())",
        "hasattr(ctx, 'wait_until')",
        "ctx.passThroughOnException()",
        "hasattr(ctx, 'props')",
        "workers.waitUntil(done())",
        "workers.waitUntil is not None",
        setup="async def done():\n    pass",
    ),
    probe("wait_until", "workers.wait_until(done())", setup="async def done():\n    pass"),
    probe(
        "what_workers_has",
        "sorted(workers.__all__)",
        *(
            f"hasattr(workers, {name!r})"
            for name in (
                "Blob",
                "BlobEnding",
                "BlobValue",
                "Body",
                "Context",
                "DurableObject",
                "FetchKwargs",
                "FetchResponse",
                "File",
                "FormData",
                "FormDataValue",
                "Headers",
                "JSBody",
                "Request",
                "RequestInitCfProperties",
                "Response",
                "WorkerEntrypoint",
                "WorkflowEntrypoint",
                "env",
                "fetch",
                "handler",
                "import_from_javascript",
                "patch_env",
                "python_from_rpc",
                "python_to_rpc",
                "waitUntil",
                "wait_until",
                "asgi",
                "workflows",
            )
        ),
    ),
    probe(
        "what_else_is_to_be_had",
        "issubclass(NonRetryableError, Exception)",
        "str(NonRetryableError('x'))",
        "NonRetryableError.__module__",
        "[one.__name__ for one in (workers.DurableObject, workers.WorkflowEntrypoint, workers.WorkerEntrypoint)]",
        "workers.BlobEnding.NATIVE",
        "list(workers.BlobEnding)",
        "workers.FetchResponse.__name__ and issubclass(Response, workers.FetchResponse)",
        "issubclass(workers.FormData, __import__('collections').abc.MutableMapping)",
        "issubclass(workers.File, workers.Blob)",
        "isinstance(self, WorkerEntrypoint)",
        "type(self).__name__",
        setup="from workers.workflows import NonRetryableError",
    ),
    probe(
        "what_fetch_refuses",
        "await workers.fetch('https://example.com', {})",
        "await workers.fetch('https://example.com', 'POST')",
        "await workers.fetch()",
    ),
    probe(
        "fetch_with_a_fetcher",
        "[asked.url if hasattr(asked, 'url') else asked for asked in asked]",
        "answer.status",
        "type(answer).__name__",
        "await answer.text()",
        "[options.method for options in options]",
        setup=(
            "asked, options = [], []\n"
            "async def fetcher(resource, given=None):\n"
            "    asked.append(resource)\n"
            "    options.append(given)\n"
            "    return js.Response.new('fetched', status=202)\n"
            "answer = await workers.fetch('https://example.com/', method='POST', fetcher=fetcher)"
        ),
    ),
    Case(
        "wait_until_goes_on",
        f"{HEAD}\nimport asyncio\n\nclass Default(WorkerEntrypoint):\n    async def fetch(self, request):\n"
        "        async def late():\n            await asyncio.sleep(0)\n            raise ValueError('late')\n"
        "        self.ctx.waitUntil(late())\n        return Response('early')\n    on_fetch = fetch\n",
    ),
)
