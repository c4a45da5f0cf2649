"""`multipart/form-data`, cut and made as workerd does (src/workerd/api/form-data.c++)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cfai.worker.web.errors import JsTypeError

__all__ = ["Part", "parts_in", "write_parts"]


@dataclass(frozen=True, slots=True)
class Part:
    """One field: a text, or, where it has a filename, a file."""

    name: str
    data: bytes
    filename: str | None = None
    type: str | None = None


_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_DISPOSITION = re.compile(r'\s*([\w-]+)\s*((?:;\s*[\w-]+\s*=\s*"(?:[^"\n\\]|\\[^\n])+"\s*)*)')
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*"((?:[^"\n\\]|\\[^\n])+)"')


def parts_in(body: bytes, boundary: str) -> Iterator[Part]:
    """The parts of `body`, in order."""
    delimiter = f"\n--{boundary}".encode()
    # The very first one need not stand at the beginning of a line.
    _, found, rest = body.partition(delimiter[1:])
    if not found or not rest:
        raise JsTypeError("No initial boundary string (or you have a truncated message).")
    while (lines := _after_boundary(rest)) is not None:
        end = _END_OF_HEADERS.search(lines)
        if end is None:
            raise JsTypeError("No multipart message header termination found.")
        headers = _headers(lines[: end.start()].decode("utf-8", "replace"))
        data, found, rest = lines[end.end() :].partition(delimiter)
        if not found or not rest:
            raise JsTypeError("No subsequent boundary string after multipart message.")
        yield _part(headers, data.removesuffix(b"\r"))


def _after_boundary(rest: bytes) -> bytes | None:
    for line_end in (b"\n", b"\r\n"):
        if rest.startswith(line_end):
            return rest[len(line_end) :]
    if rest.startswith(b"--"):
        return None
    raise JsTypeError("Boundary string was not succeeded by CRLF, LF, or '--'.")


def _headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise JsTypeError("FormData part had invalid headers.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _part(headers: dict[str, str], data: bytes) -> Part:
    if (disposition := headers.get("content-disposition")) is None:
        raise JsTypeError("No valid Content-Disposition header found in FormData part.")
    if (found := _DISPOSITION.match(disposition)) is None:
        raise JsTypeError("Invalid Content-Disposition header found in FormData part.")
    if found[1] != "form-data":
        raise JsTypeError(
            'Content-Disposition header for FormData part must have the value "form-data", '
            f'possibly followed by parameters. Got: "{found[1]}"'
        )
    parameters = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _PARAMETER.findall(found[2])}
    if "name" not in parameters:
        raise JsTypeError("Content-Disposition header in FormData part is missing a name.")
    return Part(parameters["name"], data, parameters.get("filename"), headers.get("content-type"))


def write_parts(parts: Iterable[Part], boundary: str) -> bytes:
    """`parts` as a body."""
    lines: list[bytes] = []
    for part in parts:
        disposition = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_quoted(part.filename)}"'
            disposition += f"\r\nContent-Type: {part.type or 'application/octet-stream'}"
        lines.append(f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + part.data + b"\r\n")
    return b"".join([*lines, f"--{boundary}--".encode()])


def _quoted(text: str) -> str:
    if text.endswith("\\"):
        raise JsTypeError("Name or filename can't end with backslash")
    return text.replace("\\", "\\\\").replace('"', "%22").replace("\n", "%0A")
