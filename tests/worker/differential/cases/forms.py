"""`FormData`, `Blob` and `File`, of `workers` and of `js`."""

from tests.worker.differential.case import Case, probe

__all__ = ["CASES"]

URLENCODED = (("content-type", "application/x-www-form-urlencoded"),)
MULTIPART = (("content-type", "multipart/form-data; boundary=XX"),)
PARTS = (
    b'--XX\r\nContent-Disposition: form-data; name="title"\r\n\r\nh\xc3\xa9llo\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="tag"\r\n\r\na\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="tag"\r\n\r\nb\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nline 1\r\nline 2\r\n"
    b'--XX\r\nContent-Disposition: form-data; name="raw"; filename="b.bin"\r\n\r\n\x00\xff\r\n'
    b"--XX--\r\n"
)
IMPORTS = "from workers import Blob, File, FormData"

CASES = (
    probe(
        "a_urlencoded_form",
        "type(form).__name__",
        "form['a']",
        "form.get('a')",
        "form.get('none')",
        "form['none']",
        "form.get_all('a')",
        "form.get_all('none')",
        "form['b']",
        "'a' in form",
        "'none' in form",
        "list(form)",
        "list(form.keys())",
        "list(form.values())",
        "list(form.items())",
        "dict(form)",
        "len(form)",
        "form.js_object.constructor.name",
        "form.js_object.get('a')",
        "form.a",
        setup="form = await request.form_data()",
        method="POST",
        headers=URLENCODED,
        body=b"a=1&a=2&b=c+d%26%C3%A9&e=",
    ),
    probe(
        "a_multipart_form",
        "form['title']",
        "form.get_all('tag')",
        "type(form['file']).__name__",
        "form['file'].name",
        "form['file'].content_type",
        "form['file'].size",
        "await form['file'].text()",
        "await form['file'].bytes()",
        "await form['raw'].bytes()",
        "form['raw'].content_type",
        "form['raw'].name",
        "[key for key, value in form.items()]",
        "isinstance(form['file'], str)",
        setup="form = await request.form_data()",
        method="POST",
        headers=MULTIPART,
        body=PARTS,
    ),
    probe("a_form_of_no_kind", "await request.form_data()", method="POST", body=b"a=1"),
    probe(
        "json_is_no_form",
        "await request.form_data()",
        method="POST",
        headers=(("content-type", "application/json"),),
        body=b"{}",
    ),
    probe(
        "a_broken_multipart_form", "await request.form_data()", method="POST", headers=MULTIPART, body=b"--YY\r\n\r\nx"
    ),
    probe(
        "a_multipart_form_without_a_boundary",
        "await request.form_data()",
        method="POST",
        headers=(("content-type", "multipart/form-data"),),
        body=PARTS,
    ),
    probe(
        "a_form_by_its_raw_request",
        "form.constructor.name",
        "form.get('title')",
        "form.get('none')",
        "list(form.getAll('tag'))",
        "form.has('tag')",
        "form.get('file').name",
        "form.get('file').type",
        "form.get('file').size",
        "await form.get('file').text()",
        "(await form.get('file').arrayBuffer()).to_bytes()",
        "form.get('file').constructor.name",
        "[pair[0] for pair in form.entries()]",
        "list(form.keys())",
        "[pair[0] for pair in form]",
        setup="form = await request.js_object.formData()",
        method="POST",
        headers=MULTIPART,
        body=PARTS,
    ),
    probe(
        "a_form_of_ones_own",
        "list(form.items())",
        "form.append('a', '2')",
        "form.get_all('a')",
        "form.__setitem__('a', '3')",
        "form.get_all('a')  # now",
        "form.__setitem__('a', ['3'])",
        "form.__delitem__('a')",
        "'a' in form",
        "form.delete('none')",
        "form.append('f', Blob('text', content_type='text/x'), filename='f.txt')",
        "form['f'].name",
        "form['f'].content_type",
        "await form['f'].text()",
        "form.append('g', File('text', 'g.txt'))",
        "form['g'].name",
        "FormData({'a': '1', 'b': '2'})['b']",
        "FormData()",
        "len(list(FormData()))",
        "FormData([('a', '1')])",
        "FormData('a=1')",
        "FormData(js.FormData.new())",
        "FormData({'a': 1})['a']",
        setup=f"{IMPORTS}; form = FormData({{'a': '1'}})",
    ),
    probe(
        "a_form_of_javascript",
        "f.append('a', '1')",
        "f.append('a', 2)",
        "list(f.getAll('a'))",
        "f.set('a', 'x')",
        "f.get('a')",
        "f.append('b', js.Blob.new(['abc']), 'b.txt')",
        "f.get('b').name",
        "f.append('c', js.Blob.new(['abc']))",
        "f.get('c').name",
        "f.append('d', 'text', 'name.txt')",
        "f.delete('b')",
        "f.has('b')",
        "f.get('none')",
        "f.constructor.name",
        setup="f = js.FormData.new()",
    ),
    probe(
        "blobs",
        "Blob('abc').size",
        "Blob('abc').content_type",
        "await Blob('abc').text()",
        "await Blob(['a', b'b', Blob('c')]).text()",
        "await Blob(b'\\x00\\xff').bytes()",
        "Blob('abc', content_type='text/plain').content_type",
        "Blob('abc', content_type='Text/PLAIN').content_type",
        "Blob('abc', 'text/x').content_type",
        "await Blob('abcdef').slice(1, 3).text()",
        "await Blob('abcdef').slice(2).text()",
        "await Blob('abcdef').slice(-2).text()",
        "await Blob('abcdef').slice(-3, -1).text()",
        "Blob('abcdef').slice(0, 3, 'text/y').content_type",
        "Blob('caf\u00e9').size",
        "Blob([]).size",
        "Blob(5)",
        "Blob([5])",
        "Blob(None)",
        "Blob({'a': 1}).size",
        "await Blob('a\\r\\nb', endings='native').bytes()",
        "await Blob('a\\nb', endings='transparent').bytes()",
        "Blob(Blob('x', content_type='text/x')).content_type",
        "Blob(js.Blob.new(['x'], type='text/z')).content_type",
        "Blob('x').js_object.constructor.name",
        "Blob(bytearray(b'abc')).size",
        "Blob(memoryview(b'abc')).size",
        setup=IMPORTS,
    ),
    probe(
        "files",
        "File('abc', 'a.txt').name",
        "File('abc', 'a.txt').size",
        "File('abc', 'a.txt').content_type",
        "File('abc', 'a.txt', content_type='text/plain').content_type",
        "File('abc', filename='a.txt').name",
        "File('abc', 'a.txt', last_modified=5).last_modified",
        "type(File('abc', 'a.txt').last_modified).__name__",
        "File(File('abc', 'a.txt', last_modified=7), 'b.txt').last_modified",
        "File(Blob('abc', 'text/x'), 'b.txt').content_type",
        "type(File('abcdef', 'a.txt').slice(1)).__name__",
        "await File(['a', b'b'], 'a.txt').text()",
        "await File('abc', 'a.txt').bytes()",
        "isinstance(File('abc', 'a.txt'), Blob)",
        "File('abc')",
        "File('abc', 'a.txt').js_object.constructor.name",
        setup=IMPORTS,
    ),
    probe(
        "blobs_of_javascript",
        "b.size",
        "b.type",
        "await b.text()",
        "(await b.arrayBuffer()).to_bytes()",
        "await b.slice(1, 2).text()",
        "b''.join([chunk.to_bytes() async for chunk in b.stream()])",
        "js.Blob.new().size",
        "js.Blob.new(['a', to_js(b'b')]).size",
        "js.File.new(['abc'], 'a.txt').name",
        "js.File.new(['abc'], 'a.txt', type='text/x').type",
        "js.File.new(['abc'], 'a.txt', lastModified=5).lastModified",
        "js.Blob(['a'])",
        "js.Blob.new('a')",
        "b.nope",
        setup="b = js.Blob.new(to_js(['abc', 'd']), to_js({'type': 'text/x'}, dict_converter=js.Object.fromEntries))",
    ),
    Case(
        "a_form_that_is_sent_and_read",
        """
from workers import Blob, FormData, Request, Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        form = FormData({"a": "1"})
        form.append("a", "caf\u00e9\\r\\nx")
        form.append('na"me', "quoted")
        form.append("f", Blob("text", content_type="text/x"), filename='f"\u00e9.txt')
        sent = Response(form)
        kind = sent.headers["content-type"]
        boundary = kind.partition("boundary=")[2]
        text = await sent.clone().text()
        back = await sent.form_data()
        return Response.json([
            kind.partition(";")[0], boundary in text, text.replace(boundary, "B").lower().count("b\\r\\n"),
            back.get_all("a"), back['na"me'], back["f"].name, back["f"].content_type, await back["f"].text(),
        ])
    on_fetch = fetch
""",
    ),
    probe(
        "a_query_as_a_form",
        "Response(js.URLSearchParams.new('a=1')).headers['content-type']",
        "(await Response(js.URLSearchParams.new('a=1&b=c+d')).form_data())['b']",
        "(await Response(js.URLSearchParams.new('a=1')).formData())['a']",
    ),
)
