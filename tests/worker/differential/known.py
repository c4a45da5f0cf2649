"""Where cfai differs from Cloudflare, and why. What no longer differs must leave this table."""

from __future__ import annotations

from tests.worker.differential.generations import GENERATIONS, Generation

__all__ = ["known"]

# By the reason: the case, what in it differs, and in which of the generations, all of them unless it says.
_KNOWN: dict[str, tuple[tuple[str, ...], ...]] = {
    "workerd says it in these words (src/workerd/api), Node in others": (
        ("json_of_a_response", "Response.json({}, status=204)"),
        ("json_of_a_response", "Response.json({}, status=99)"),
        ("json_of_a_response", "Response.json(js.JSON.parse('{}'), status=99)"),
        ("where_a_redirect_leads", "type(Response.redirect('https://example.com', 300)).__name__"),
        ("no_redirect", "Response.redirect('nope')"),
        ("no_redirect", "Response.redirect('https://example.com', 200)"),
        ("a_form_of_no_kind", "await request.form_data()"),
        ("json_is_no_form", "await request.form_data()"),
        ("a_broken_multipart_form", "await request.form_data()"),
        ("a_multipart_form_without_a_boundary", "await request.form_data()"),
        ("a_response_whose_stream_is_held", "await r.text()", "BCD"),
    ),
    "workerd's rule (src/workerd/api), which Node's class does not have": (
        ("a_writer", "(await failed(writer.write('more')))[0]"),
        ("how_a_request_is_made", "Request('https://example.com', method='NOPE').method"),
        ("a_form", "body"),
        ("what_is_a_status", "Response('', status=204)"),
        ("what_is_a_status", "Response(b'', status=204)"),
        ("what_are_no_options", "Response('x', headers={'a': '☃'})"),
        ("how_headers_are_made", "js.Headers.new([('a', '☃')])"),
        ("urls_in_parts", "parts('https://example.com/\\'\"<>`{}|^')"),
        ("a_multipart_form", "form['raw'].content_type"),
        ("blobs", "await Blob('a\\r\\nb', endings='native').bytes()"),
        ("a_form_that_is_sent_and_read", "body"),
        ("cf_of_a_request", "Request('https://example.com').cf", "CD"),
    ),
    "what Node lacks: stack switching, a WebSocket": (
        ("env_of_the_module", "workers.import_from_javascript('cloudflare:nope')"),
        ("what_js_has", "hasattr(js, 'WebSocket')"),
    ),
    "Python's own message names the class, which there is a proxy": (
        ("raw_headers_of_a_request", "len(raw)"),
        ("what_is_no_body", "Response(js.Promise.resolve(1))"),
        ("how_headers_are_made", "js.Headers.nope"),
        ("what_headers_do", "len(h)"),
        ("functions_of_javascript", "js.console.nope"),
        ("errors_of_javascript", "error_of(lambda: js.JSON.parse.nope)"),
        ("a_raw_request", "request['url']", "A"),
        ("a_plain_object", "dict(o)"),
        ("objects", "js.Object.is_ if hasattr(js.Object, 'is_') else None"),
        ("promises", "js.Promise.resolve(1)"),
        ("none_to_rpc", "python_to_rpc({'a': None}).a", "AB"),
    ),
    "an error of the script's own that comes back to it is itself, not JavaScript's PythonError": (
        ("what_a_source_raises", "await failed(pulled.read())"),
        ("what_a_source_raises", "await failed(pulled.read())  # again"),
        ("what_a_source_raises", "await failed(pulled.closed)"),
        ("what_a_source_raises", "await failed(started.read())"),
        ("a_writer_that_fails", "await failed(first)"),
        ("a_writer_that_fails", "(await failed(writer.closed))[0]"),
        ("a_writer_that_fails", "(await failed(writer.write('more')))[0]"),
    ),
    "lenient, with a note; --strict-compat does as Cloudflare": (
        ("what_workers_has", "hasattr(workers, 'wait_until')", "AB"),
        ("responses_of_javascript", "js.Response.new('x', {'status': 404}).status", "A"),
        ("responses_of_javascript", "await js.Response.new(b'abc').text()"),
        ("errors_of_javascript", "error_of(lambda: js.Response('x'))"),
        ("javascript_with_a_dict_of_options", "status", "A"),
        ("json_of_a_dict", "js.JSON.stringify({'a': 1})", "A"),
        ("a_dict_of_inputs", "js.JSON.stringify(await env.AI.run('@cf/echo', {'prompt': 'hi'}))", "ACD"),
        ("a_result_as_a_proxy", "js.JSON.stringify(r)", "CD"),
        ("a_result_as_a_proxy", "list(js.Object.keys(r))", "CD"),
        ("a_result_as_a_proxy", "await js.Response.json(r).text()", "CD"),
    ),
    "no script is known to use it": (
        ("what_js_has", "hasattr(js, 'MessageChannel')"),
        ("what_js_has", "hasattr(js, 'RegExp')"),
        ("what_js_has", "hasattr(js, 'Reflect')"),
        ("what_js_has", "hasattr(js, 'Proxy')"),
        ("what_js_has", "hasattr(js, 'WeakMap')"),
        ("what_js_has", "hasattr(js, 'Intl')"),
    ),
    "Python cannot run text as JavaScript": (
        ("what_js_has", "hasattr(js, 'eval')"),
        ("what_js_has", "hasattr(js, 'Function')"),
    ),
}
_LETTERS = dict(zip(map(str, GENERATIONS), "ABCD", strict=True))


def known(generation: Generation, case: str) -> dict[str, str]:
    """What differs in `case`, each with its reason."""
    return {
        what: why
        for why, entries in _KNOWN.items()
        for name, what, *where in entries
        if name == case and (not where or _LETTERS[str(generation)] in where[0])
    }
