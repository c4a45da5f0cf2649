"""`js.Headers`."""

from tests.worker.differential.case import Case, probe

__all__ = ["CASES"]

CASES = (
    probe(
        "how_headers_are_made",
        "js.Headers.new().get('a')",
        "js.Headers.new([('a', '1'), ('a', '2')]).get('a')",
        "js.Headers.new([['a', '1']]).get('a')",
        "js.Headers.new({'a': '1'}.items()).get('a')",
        "js.Headers.new(to_js({'a': '1'}, dict_converter=js.Object.fromEntries)).get('a')",
        "js.Headers.new(to_js([['a', '1']])).get('a')",
        "js.Headers.new(js.Headers.new([['a', '1']])).get('a')",
        "js.Headers.new(js.Map.new([['a', '1']])).get('a')",
        "js.Headers.new(js.JSON.parse('{\"a\": \"1\"}')).get('a')",
        "js.Headers.new(a='1', b='2').get('b')",
        "js.Headers.new([('a',)])",
        "js.Headers.new([('a', '1', '2')])",
        "js.Headers.new(5)",
        "js.Headers.new('a')",
        "js.Headers.new([('a b', '1')])",
        "js.Headers.new([('', '1')])",
        "js.Headers.new([('a', 'x\\ny')])",
        "js.Headers.new([('a', '\u2603')])",
        "js.Headers.new([('a', 5)]).get('a')",
        "js.Headers.new([('a', None)]).get('a')",
        "js.Headers.new([('a', True)]).get('a')",
        "js.Headers.new([('a', '  x\\t')]).get('a')",
        "js.Headers.new([('a', 'caf\u00e9')]).get('a')",
        "js.Headers()",
        "js.Headers.nope",
        "js.Headers.new().nope",
    ),
    probe(
        "a_dict_as_headers",
        "js.Headers.new({'a': '1'}).get('a')",
    ),
    probe(
        "what_headers_do",
        "h.get('b')",
        "h.get('B')",
        "h.get('none')",
        "h.has('A')",
        "h.append('a', '3')",
        "h.get('a')",
        "h.set('a', '4')",
        "h.get('a')  # once more",
        "h.delete('a')",
        "h.has('a')",
        "h.delete('none')",
        "h.getSetCookie()",
        "list(h.getSetCookie())",
        "h.get('set-cookie')",
        "[tuple(pair) for pair in h]",
        "[tuple(pair) for pair in h.entries()]",
        "list(h.keys())",
        "list(h.values())",
        "h.set('a b', '1')",
        "h.get('a b')",
        "h['b']",
        "h['B']",
        "h['none']",
        "'b' in h",
        "'none' in h",
        "len(h)",
        "h.constructor.name",
        "h.forEach(lambda value, name, *_: seen.append((name, value)))",
        "seen",
        "js.Object.fromEntries(h).b",
        "js.Object.fromEntries(h.entries()).b",
        "str(h)",
        "bool(js.Headers.new())",
        setup=(
            "seen = []\n"
            "h = js.Headers.new([('b', '1'), ('a', '1'), ('A', '2'), ('set-cookie', 'x=1'), ('Set-Cookie', 'y=2')])"
        ),
    ),
    probe(
        "commas_in_headers",
        "request.headers.get('accept')",
        "request.headers.get_all('accept')",
        "request.headers.get('user-agent')",
        "request.headers.get_all('x-twice')",
        "request.headers.get('x-twice')",
        "request.headers.get('if-modified-since')",
        "request.headers.items() and [v for k, v in request.headers.items() if k.lower() == 'x-twice']",
        "request.js_object.headers.get('x-twice')",
        headers=(
            ("accept", "text/html, application/json;q=0.9,*/*"),
            ("user-agent", "Mozilla/5.0 (X11; Linux) Like, Gecko"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("if-modified-since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ),
    ),
    probe(
        "commas_in_headers_of_a_response",
        "r.headers['x-twice']",
        "r.headers.get('x-twice')",
        "sorted(r.headers.items())",
        "r.headers.get('set-cookie')",
        "r.headers.get_all('x-twice')",
        "r.headers.get_all('set-cookie')",
        setup=(
            "pairs = [('x-twice', '1'), ('x-twice', '2'), ('set-cookie', 'a=1'), ('set-cookie', 'b=2, c')]\n"
            "r = Response('x', headers=pairs)"
        ),
    ),
    probe(
        "headers_that_change",
        "r.headers.__setitem__('x-b', '2')",
        "r.headers.get('x-b')",
        "r.js_object.headers.set('x-c', '3')",
        "r.headers.get('x-c')",
        "sorted(r.clone().headers.items())",
        setup="r = Response('x', headers={'x-a': '1'})",
    ),
    Case(
        "raw_headers_set_afterwards",
        """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        response = Response("x")
        response.js_object.headers.set("X-Late", "1")
        response.js_object.headers.append("set-cookie", "a=1")
        response.js_object.headers.append("set-cookie", "b=2")
        return response
    on_fetch = fetch
""",
    ),
)
