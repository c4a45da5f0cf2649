"""Typed arrays, buffers, maps, sets and objects of JavaScript, as Python writes to them and reads them."""

from __future__ import annotations

import io

import pytest

from cfai.worker.web.arrays import JsArray
from cfai.worker.web.buffers import TYPED_ARRAYS, ArrayBuffer, Uint8Array
from cfai.worker.web.errors import JsRangeError
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.objects import JsObject

Int16Array = TYPED_ARRAYS["Int16Array"]


def test_a_typed_array_is_written_and_read() -> None:
    array = Int16Array.new(JsArray([1, 2, 3]))
    array[0] = -1
    array.set([7, 8], 1)
    assert (list(array), array[-1], len(array), array.length, array.byteLength) == ([-1, 7, 8], 8, 3, 3, 6)
    assert (array.BYTES_PER_ELEMENT, array.byteOffset, str(array), array.join("-")) == (2, 0, "-1,7,8", "-1-7-8")
    assert list(array.fill(0, 1)) == [-1, 0, 0]
    assert array.to_py().tolist() == [-1, 0, 0]
    with pytest.raises(JsRangeError, match="offset is out of bounds"):
        array.set([1, 2], 2)
    with pytest.raises(IndexError):
        array[3]


def test_bytes_go_in_and_out_of_a_typed_array() -> None:
    array = Uint8Array.new(4)
    array.assign(b"text")
    assert (array.to_string(), bytes(array), array[1:3].to_bytes()) == ("text", b"text", b"ex")
    array[0:2] = b"TE"
    file, taken = io.BytesIO(), bytearray(4)
    array.to_file(file)
    array.assign_to(taken)
    assert file.getvalue() == bytes(taken) == b"TExt"
    with pytest.raises(ValueError, match="cannot assign 2 bytes to an array of 4"):
        array.assign(b"no")


def test_arrays_over_one_buffer_see_each_other() -> None:
    buffer = ArrayBuffer.new(8)
    whole, part = Uint8Array.new(buffer), Int16Array.new(buffer, 2, 2)
    part[0] = 258
    assert (list(whole), part.length) == ([0, 0, 2, 1, 0, 0, 0, 0], 2)
    assert buffer.slice(2, 4).to_bytes() == b"\x02\x01"
    assert (buffer.byteLength, str(buffer)) == (8, "[object ArrayBuffer]")


def test_a_map_is_javascripts_and_pythons() -> None:
    found = JsMap([("a", 1)])
    assert found.set("b", 2) is found
    assert (found.has("a"), found.get("c"), found.delete("a"), found.delete("a")) == (True, None, True, False)
    found["d"] = 4
    del found["b"]
    seen: list[object] = []
    found.forEach(lambda value, key, whole: seen.append((value, key, whole is found)))
    assert seen == [(4, "d", True)]
    assert (list(found), list(found.values()), [list(pair) for pair in found.entries()]) == (["d"], [4], [["d", 4]])
    assert (str(found), found.size, found.pop("d"), "d" in found, len(found)) == ("[object Map]", 1, 4, False, 0)
    found.set("x", 1)
    found.clear()
    assert found.to_py() == {}


def test_a_set_is_javascripts_and_pythons() -> None:
    found = JsSet([1, 2])
    seen: list[object] = []
    found.forEach(lambda value, key, whole: seen.append((value, key, whole is found)))
    assert seen == [(1, 1, True), (2, 2, True)]
    assert (found.has(1), found.delete(1), found.delete(1), found.size, str(found)) == (
        *(True, True, False),
        *(1, "[object Set]"),
    )
    found.discard(5)
    assert (list(found.keys()), [list(pair) for pair in found.entries()], found.to_py()) == ([2], [[2, 2]], {2})
    found.clear()
    assert found.size == 0


def test_an_object_as_a_mapping() -> None:
    thing = JsObject({"a": 1})
    mapping = thing.as_object_map()
    mapping["b"] = 2
    assert (mapping["a"], "b" in mapping, len(mapping), list(mapping)) == (1, True, 2, ["a", "b"])
    assert (list(mapping.keys()), list(mapping.values()), list(mapping.items())) == (
        *(["a", "b"], [1, 2]),
        [("a", 1), ("b", 2)],
    )
    del mapping["a"]
    assert (mapping.to_py(), thing.to_py(), "a" in mapping) == ({"b": 2}, {"b": 2}, False)


def test_an_object_as_a_dict() -> None:
    thing = JsObject({"a": 1})
    thing["b"] = 2
    del thing["a"]
    assert ("b" in thing, thing["b"], len(thing), list(thing), bool(JsObject())) == (True, 2, 1, ["b"], True)
    with pytest.raises(KeyError):
        thing["a"]
    with pytest.raises(AttributeError):
        del thing.nothing
    assert ([list(pair) for pair in thing.object_entries()], "b" in dir(thing)) == ([["b", 2]], True)
