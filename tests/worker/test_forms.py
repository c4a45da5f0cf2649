"""Forms, files and blobs, in workerd's words and by its rules (src/workerd/api/form-data.c++, blob.c++)."""

import pytest

from cfai.worker.sdk import Blob, File, FormData, Request, Response
from cfai.worker.web import blobs, forms
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.multipart import Part, parts_in, write_parts

BODY = (
    b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nh\xc3\xa9llo\r\n'
    b'--B\r\ncontent-disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\na\r\n\r\nb\r\n"
    b"--B--\r\n"
)


def test_the_parts_of_a_body() -> None:
    assert list(parts_in(BODY, "B")) == [
        Part("title", "h\u00e9llo".encode()),
        Part("f", b"a\r\n\r\nb", "a.txt", "text/plain"),
    ]


def test_lines_may_end_without_a_carriage_return() -> None:
    assert list(parts_in(BODY.replace(b"\r\n", b"\n"), "B")) == [
        Part("title", "h\u00e9llo".encode()),
        Part("f", b"a\n\nb", "a.txt", "text/plain"),
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "No initial boundary string (or you have a truncated message)."),
        (b"--B", "No initial boundary string (or you have a truncated message)."),
        (b"--Bx", "Boundary string was not succeeded by CRLF, LF, or '--'."),
        (b"--B\r\nA: b", "No multipart message header termination found."),
        (b"--B\r\nno header\r\n\r\nx\r\n--B--", "FormData part had invalid headers."),
        (b"--B\r\nA: b\r\n\r\nx\r\n--B--", "No valid Content-Disposition header found in FormData part."),
        (
            b"--B\r\nContent-Disposition: ?\r\n\r\nx\r\n--B--",
            "Invalid Content-Disposition header found in FormData part.",
        ),
        (
            b'--B\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--B--',
            'Content-Disposition header for FormData part must have the value "form-data", possibly followed by'
            ' parameters. Got: "attachment"',
        ),
        (
            b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--",
            "Content-Disposition header in FormData part is missing a name.",
        ),
        (
            b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',
            "No subsequent boundary string after multipart message.",
        ),
    ],
)
def test_what_is_no_body_of_parts(body: bytes, problem: str) -> None:
    with pytest.raises(JsTypeError) as caught:
        list(parts_in(body, "B"))
    assert caught.value.message == problem


def test_what_is_written_is_read_again() -> None:
    parts = [Part("a", b"1\r\n--"), Part("b", b"\x00\xff", "x y.bin", "image/png"), Part("c", b"", "empty.txt")]
    written = write_parts(parts, "B")
    assert list(parts_in(written, "B")) == [*parts[:2], Part("c", b"", "empty.txt", "application/octet-stream")]


def test_quotes_and_lines_in_names() -> None:
    assert b'name="a%22b%0Ac\\\\d"' in write_parts([Part('a"b\nc\\d', b"")], "B")
    with pytest.raises(JsTypeError, match="Name or filename can't end with backslash"):
        write_parts([Part("a\\", b"")], "B")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("multipart/form-data", "No boundary string in Content-Type header."),
        (
            "text/plain",
            "Unrecognized Content-Type header value. FormData can only parse the following MIME types: "
            "multipart/form-data, application/x-www-form-urlencoded",
        ),
        ("application/x-www-form-urlencoded; charset=latin1", "Non-utf-8 application/x-www-form-urlencoded body."),
    ],
)
def test_what_is_no_form(kind: str, problem: str) -> None:
    with pytest.raises(JsTypeError) as caught:
        forms.FormData.read(b"a=1", kind)
    assert caught.value.message.startswith(problem)


def test_a_blob_without_a_filename_is_called_after_its_field() -> None:
    form = FormData()
    form.append("upload", Blob("text", content_type="text/x"))
    form.append("named", Blob("text"), filename="name.txt")
    form.append("file", File("text", "file.txt"))
    assert [form[name].name for name in ("upload", "named", "file")] == ["upload", "name.txt", "file.txt"]


async def test_a_form_goes_through_a_request() -> None:
    form = FormData({"a": "1"})
    form.append("a", "2")
    form.append("f", Blob(b"\x00\xff"), filename="f.bin")
    read = await Request("https://example.com", method="POST", body=form).form_data()
    assert read.get_all("a") == ["1", "2"]
    assert (read["f"].name, await read["f"].bytes()) == ("f.bin", b"\x00\xff")
    with pytest.raises(TypeError, match="Parsing a Body as FormData requires a Content-Type header"):
        await Response(b"a=1").form_data()


def test_a_slice_of_a_blob() -> None:
    blob = blobs.Blob.new(["abc", blobs.Blob.new(["def"])], {"type": "Text/X"})
    assert (blob.size, blob.type, blob.data) == (6, "text/x", b"abcdef")
    sliced = blob.slice(-4, -1, "a/b")
    assert (sliced.data, sliced.type) == (b"cde", "a/b")
    assert blobs.Blob.new([], {"type": "a\x00b"}).type == ""
