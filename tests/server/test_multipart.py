"""Forms that are cut while they come."""

from __future__ import annotations

import pytest

from cfai.errors import IncompleteRequest
from cfai.server.multipart import Data, FormReader, Part, boundary_of

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file_name"\r\n\r\nx.json\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="blob"\r\nContent-Type: a/b\r\n\r\n'
    b"\r\n--\r\n--c\r\n\0\xff\r\n"
    b'--b\r\nContent-Disposition: form-data; filename="e"; name="empty"\r\n\r\n\r\n--b--\r\n'
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 1000])
def test_the_parts_are_the_same_however_the_bytes_come(size: int) -> None:
    reader, fields = FormReader(b"b"), []
    for start in range(0, len(FORM), size):
        for event in reader.feed(FORM[start : start + size]):
            if isinstance(event, Part):
                fields.append((event, b""))
            else:
                assert isinstance(event, Data)
                fields[-1] = (fields[-1][0], fields[-1][1] + event.bytes)
    assert reader.is_over
    assert fields == [
        (Part("file_name"), b"x.json"),
        (Part("file", "blob"), b"\r\n--\r\n--c\r\n\0\xff"),
        (Part("empty", "e"), b""),
    ]


def test_a_part_without_a_name_is_refused() -> None:
    with pytest.raises(IncompleteRequest):
        list(FormReader(b"b").feed(b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--"))


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"
    for wrong in ("", "multipart/form-data", "multipart/mixed; boundary=b", "\n: x"):
        with pytest.raises(IncompleteRequest):
            boundary_of(wrong)
