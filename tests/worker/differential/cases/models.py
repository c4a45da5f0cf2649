"""`env.AI`: what it is given and what it gives."""

from tests.worker.differential.case import Case, probe

__all__ = ["CASES"]

CONVERTED = "dict_converter=js.Object.fromEntries"
RUN = f"r = await env.AI.run('@cf/json', to_js({{'prompt': 'hi'}}, {CONVERTED}))"

CASES = (
    probe(
        "a_result",
        "r.response",
        "r.usage.total_tokens",
        "hasattr(r, 'response')",
        "hasattr(r, 'nope')",
        "getattr(r, 'nope', None)",
        "r.nope",
        "r.list[0].score",
        "len(r.list)",
        "list(r.list)[1]",
        "r.nothing",
        "str(r.response)",
        "bool(r)",
        setup=RUN,
    ),
    probe(
        "a_result_as_a_dict",
        "r['response']",
        "r.get('response')",
        "r.get('nope', 5)",
        "'response' in r",
        "dict(r)",
        "json.dumps(r)",
        "isinstance(r, dict)",
        "r['list'][0]['score']",
        "r.list[0]['score']",
        "r.keys()",
        "list(r.items())",
        "[key for key in r]",
        "len(r)",
        "{**r}",
        setup=RUN,
    ),
    probe(
        "a_result_as_a_proxy",
        "isinstance(r, JsProxy)",
        "r.to_py()",
        "hasattr(r, 'to_py')",
        "js.JSON.stringify(r)",
        "list(js.Object.keys(r))",
        "await js.Response.json(r).text()",
        "r.list",
        "r.list.to_py()",
        "hasattr(r, 'object_keys')",
        setup=RUN,
    ),
    probe("a_result_as_json", "await Response.json(r).text()", "await Response.json(r.list).text()", setup=RUN),
    probe(
        "inputs_of_javascript",
        *(
            f"(await env.AI.run('@cf/echo', {inputs})).inputs.messages[0].content"
            for inputs in (
                f"to_js({{'messages': [{{'role': 'user', 'content': 'hi'}}]}}, {CONVERTED})",
                "js.JSON.parse(json.dumps({'messages': [{'role': 'user', 'content': 'hi'}]}))",
                f"js.Object.fromEntries([['messages', to_js([{{'content': 'hi'}}], {CONVERTED})]])",
            )
        ),
    ),
    probe("a_dict_of_inputs", "js.JSON.stringify(await env.AI.run('@cf/echo', {'prompt': 'hi'}))"),
    probe("a_flat_dict", "(await env.AI.run('@cf/echo', {'prompt': 'hi'})).inputs.prompt"),
    probe(
        "a_nested_dict", "(await env.AI.run('@cf/echo', {'messages': [{'content': 'hi'}]})).inputs.messages[0].content"
    ),
    probe("inputs_by_keyword", "(await env.AI.run('@cf/echo', prompt='hi', max_tokens=9)).inputs.prompt"),
    probe("a_map_of_inputs", "(await env.AI.run('@cf/echo', to_js({'prompt': 'hi'}))).inputs.prompt"),
    probe(
        "an_error_of_a_model_that_is_caught",
        "caught.name",
        "caught.message",
        "str(caught)",
        "type(caught).__name__ if type(caught) is JsException else 'JsException'",
        "isinstance(caught, JsException)",
        "isinstance(caught, Exception)",
        "hasattr(caught, 'stack')",
        setup=(
            "try:\n"
            f"    await env.AI.run('@cf/none', to_js({{'prompt': 'hi'}}, {CONVERTED}))\n"
            "except Exception as error:\n"
            "    caught = error"
        ),
    ),
    probe(
        "the_binding",
        "hasattr(env.AI, 'run')",
        "env.AI.lastRequestId is not None",
        "type(env.AI.lastRequestId).__name__",
        "env.AI.aiGatewayLogId",
        "env.AI.nope",
        "hasattr(env.AI, 'nope')",
        setup=RUN,
    ),
    probe(
        "a_stream_of_a_model",
        "stream",
        "isinstance(stream, JsProxy)",
        "b''.join([chunk.to_bytes() async for chunk in stream])",
        setup=f"stream = await env.AI.run('@cf/stream', to_js({{'prompt': 'hi', 'stream': True}}, {CONVERTED}))",
    ),
    probe(
        "a_reader_of_a_model",
        "text",
        "stream.locked",
        setup=(
            f"stream = await env.AI.run('@cf/stream', to_js({{'prompt': 'hi', 'stream': True}}, {CONVERTED}))\n"
            "reader, text, decoder = stream.getReader(), '', js.TextDecoder.new()\n"
            "while True:\n"
            "    result = await reader.read()\n"
            "    if result.done:\n        break\n"
            "    text += decoder.decode(result.value)"
        ),
    ),
    Case(
        "a_stream_passed_on",
        f"""
import js
from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        inputs = to_js({{"prompt": "hi", "stream": True}}, {CONVERTED})
        stream = await self.env.AI.run("@cf/stream", inputs)
        return Response(stream, headers={{"content-type": "text/event-stream"}})
    on_fetch = fetch
""",
    ),
    Case(
        "a_result_passed_on",
        f"""
import js
from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        inputs = to_js({{"prompt": "hi"}}, {CONVERTED})
        return Response.json(await self.env.AI.run("@cf/json", inputs))
    on_fetch = fetch
""",
    ),
)
