"""`python_from_rpc` and `python_to_rpc`."""

from tests.worker.differential.case import probe

__all__ = ["CASES"]

IMPORTS = "import datetime; from workers import Blob, FormData, python_from_rpc, python_to_rpc"

CASES = (
    probe(
        "from_rpc",
        "python_from_rpc(1)",
        "python_from_rpc('x')",
        "python_from_rpc(None)",
        'python_from_rpc(js.JSON.parse(\'{"a": [1, {"b": 2}]}\'))',
        "python_from_rpc(js.JSON.parse('[1, [2]]'))",
        "python_from_rpc(js.Map.new([['a', 1]]))",
        "python_from_rpc(js.Set.new([1]))",
        "type(python_from_rpc(js.Response.new('x'))).__name__",
        "type(python_from_rpc(js.Request.new('https://example.com'))).__name__",
        "type(python_from_rpc(js.FormData.new())).__name__",
        "type(python_from_rpc(js.Blob.new(['x']))).__name__",
        "type(python_from_rpc(js.Date.new(0))).__name__",
        "python_from_rpc(js.Date.new(86400000)).year",
        "type(python_from_rpc(js.Error.new('no'))).__name__",
        "str(python_from_rpc(js.Error.new('no')))",
        "python_from_rpc(to_js(b'ab'))",
        "python_from_rpc(js.URL.new('https://example.com'))",
        "python_from_rpc({'a': 1})",
        "python_from_rpc(js.Headers.new())",
        setup=IMPORTS,
    ),
    probe(
        "to_rpc",
        "python_to_rpc(1)",
        "python_to_rpc('x')",
        "python_to_rpc(True)",
        "python_to_rpc([1, 2])",
        "python_to_rpc({'a': 1})",
        "python_to_rpc({1})",
        "python_to_rpc(b'x')",
        "python_to_rpc(Response('x'))",
        "python_to_rpc(Request('https://example.com'))",
        "python_to_rpc(FormData())",
        "python_to_rpc(Blob('x'))",
        "python_to_rpc(datetime.datetime(2025, 1, 1))",
        "python_to_rpc(ValueError('no'))",
        "python_to_rpc(ValueError('no')).message",
        "python_to_rpc([Response('x')])[0]",
        "python_to_rpc((1, 2))",
        "python_to_rpc(bytearray(b'x'))",
        "python_to_rpc([(1, 2)])",
        "python_to_rpc({'a': (1,)})",
        "python_to_rpc(js.URL.new('https://example.com'))",
        setup=IMPORTS,
    ),
    probe("none_to_rpc", "python_to_rpc(None)", "python_to_rpc({'a': None}).a", setup=IMPORTS),
    probe("what_is_no_rpc", "python_to_rpc(wait())", setup=f"{IMPORTS}\nasync def wait(): pass"),
    probe("a_function_to_rpc", "python_to_rpc(lambda: 1)", setup=IMPORTS),
)
