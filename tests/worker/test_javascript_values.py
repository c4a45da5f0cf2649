"""What JavaScript's own functions answer, by the language's standard: dates, numbers, texts, arrays, objects, bytes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cfai.worker.web.arrays import Array, JsArray
from cfai.worker.web.buffers import TYPED_ARRAYS, ArrayBuffer
from cfai.worker.web.data_views import DataView
from cfai.worker.web.dates import Date
from cfai.worker.web.errors import JsException
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.object_class import Object, structuredClone
from cfai.worker.web.objects import JsObject
from cfai.worker.web.primitives import (
    BigInt,
    Boolean,
    Math,
    Number,
    String,
    Symbol,
    decodeURI,
    decodeURIComponent,
    encodeURI,
    encodeURIComponent,
    isFinite,
    isNaN,
    parseFloat,
    parseInt,
)

NAMES = {
    **{one.__name__: one for one in (encodeURI, encodeURIComponent, decodeURI, decodeURIComponent)},
    **{one.__name__: one for one in (isFinite, isNaN, parseFloat, parseInt, structuredClone)},
    "Array": Array,
    "ArrayBuffer": ArrayBuffer,
    "BigInt": BigInt,
    "Boolean": Boolean,
    "DataView": DataView,
    "Date": Date,
    "Math": Math,
    "Number": Number,
    "Object": Object,
    "String": String,
    "Symbol": Symbol,
    "JsMap": JsMap,
    "JsObject": JsObject,
    "JsSet": JsSet,
    "nan": math.nan,
    "inf": math.inf,
    **TYPED_ARRAYS,
    "a": lambda *items: JsArray(items),
    "day": lambda: Date.new("2024-02-29T13:04:05.678Z"),
}


def plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, JsArray | list):
        return [plain(item) for item in value]
    if isinstance(value, JsObject | JsMap):
        return value.to_py()
    return value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Dates
        ("day().toISOString()", "2024-02-29T13:04:05.678Z"),
        ("day().toJSON()", "2024-02-29T13:04:05.678Z"),
        ("day().toUTCString()", "Thu, 29 Feb 2024 13:04:05 GMT"),
        ("day().toDateString()", "Thu Feb 29 2024"),
        ("day().toTimeString()", "13:04:05 GMT+0000 (Coordinated Universal Time)"),
        ("str(day())", "Thu Feb 29 2024 13:04:05 GMT+0000 (Coordinated Universal Time)"),
        ("day().toLocaleDateString()", "2/29/2024"),
        ("day().toLocaleTimeString()", "1:04:05 PM"),
        ("day().toLocaleString()", "2/29/2024, 1:04:05 PM"),
        ("[day().getFullYear(), day().getMonth(), day().getDate(), day().getDay()]", [2024, 1, 29, 4]),
        ("[day().getUTCHours(), day().getMinutes(), day().getSeconds(), day().getMilliseconds()]", [13, 4, 5, 678]),
        ("day().getTimezoneOffset()", 0),
        ("day().setDate(1)", 1706792645678),
        ("day().setTime(0)", 0),
        ("day().setFullYear(2023)", 1677675845678),
        ("Date.new(2024, 0, 31).toISOString()", "2024-01-31T00:00:00.000Z"),
        ("Date.new(99, 0).getFullYear()", 1999),
        ("Date.UTC(1970, 0, 1, 0, 0, 1)", 1000),
        ("Date.UTC(2024, 12)", 1735689600000),
        ("Date.UTC(nan)", "NaN"),
        ("Date.parse('2024-02-30T25:00')", "NaN"),
        ("Date.parse('Thu Feb 29 2024 13:04:05 GMT+0100 (CET)')", 1709208245000),
        ("Date.parse('29 Feb 2024')", 1709164800000),
        ("Date.parse('Thu, 29 Feb 2024 13:04:05 GMT')", 1709211845000),
        ("Date.parse('2024-02-29T13:04:05-02:30')", 1709220845000),
        ("Date.parse('no day')", "NaN"),
        ("[str(Date.new('no')), Date.new('no').getTime(), Date.new('no').getDay()]", ["Invalid Date", "NaN", "NaN"]),
        ("Date.new(day()).getTime() == day().valueOf()", True),
        ("[day() < Date.new(0), day() > Date.new(0), day() <= day(), day() >= day()]", [False, True, True, True]),
        # Numbers
        ("[parseInt('42px'), parseInt('-0x1F'), parseInt('101', 2), parseInt('x')]", [42, -31, 5, "NaN"]),
        ("[parseFloat('3.5rem'), parseFloat('-1e3'), parseFloat('.')]", [3.5, -1000, "NaN"]),
        ("[isNaN('x'), isNaN('1'), isFinite('1'), isFinite(inf)]", [True, False, True, False]),
        ("[Number(' 12 '), Number(''), Number('0b101'), Number('1x'), Number(True)]", [12, 0, 5, "NaN", 1]),
        ("[Number('0xg'), Number('Infinity'), Number(None)]", ["NaN", math.inf, "NaN"]),
        ("[Number.isInteger(3.0), Number.isInteger('3'), Number.isSafeInteger(2**53)]", [True, False, False]),
        ("[Number.isFinite('1'), Number.isNaN('x'), Number.isNaN(nan)]", [False, False, True]),
        ("[Number.new(3).valueOf(), str(Number.new(3)), str(String.new('x'))]", [3, "3", "x"]),
        ("[Boolean(''), Boolean('0'), Boolean(nan), Boolean(JsObject()), Boolean.new(1).valueOf()]", [0, 1, 0, 1, 1]),
        ("[BigInt(3.0), BigInt('0x10'), BigInt(True), BigInt('')]", [3, 16, 1, 0]),
        ("[Math.round(2.5), Math.round(-2.5), Math.trunc(-2.7), Math.sign(-3), Math.abs('-2')]", [3, -2, -2, -1, 2]),
        ("[Math.max(), Math.min(), Math.max(1, '3', 2), Math.min(1, nan)]", [-math.inf, math.inf, 3, "NaN"]),
        (
            "[Math.pow(2, 10), Math.pow(0, -1), Math.pow(-8, 1 / 3), Math.pow(10, 400)]",
            [1024, math.inf, "NaN", math.inf],
        ),
        ("[Math.sqrt(-1), Math.log(0), Math.log2(8), Math.log10(1000), Math.cbrt(27)]", ["NaN", -math.inf, 3, 3, 3]),
        ("[Math.hypot(3, 4), Math.atan2(0, 1), Math.fround(5.5), Math.clz32(1)]", [5, 0, 5.5, 31]),
        ("[Math.imul(3, 4), Math.imul(0xffffffff, 5), Math.floor(inf)]", [12, -5, math.inf]),
        ("0 <= Math.random() < 1", True),
        # Texts
        ("String.fromCharCode(72, 105, 0xD83D, 0xDE42)", "Hi\U0001f642"),
        ("String.fromCodePoint(0x1F642)", "\U0001f642"),
        ("encodeURIComponent('a b&c/é')", "a%20b%26c%2F%C3%A9"),
        ("encodeURI('http://x/a b?q=é#f')", "http://x/a%20b?q=%C3%A9#f"),
        ("decodeURIComponent('a%20b%26c%2F')", "a b&c/"),
        ("decodeURI('a%20b%26c%2F')", "a b%26c%2F"),
        ("[str(Symbol.iterator), str(Symbol('x'))]", ["Symbol(Symbol.iterator)", "Symbol(x)"]),
        # Arrays
        ("Array.new(2).length", 2),
        ("Array.of(7)", [7]),
        ("Array.from_('ab')", ["a", "b"]),
        ("Array.from_(a(1, 2), lambda item, at: item * 10 + at)", [10, 21]),
        ("[Array.isArray(a()), Array.isArray([])]", [True, False]),
        ("a(1, 2, 3).splice(1)", [2, 3]),
        ("a(1, 2, 3, 4).slice(-2)", [3, 4]),
        ("a(1, 2, 3, 4).slice(1, 3)", [2, 3]),
        ("a(1).concat(a(2, 3), 4)", [1, 2, 3, 4]),
        ("a(1, None, 'x').join('-')", "1--x"),
        ("[a(1, 2).at(-1), a(1, 2).at(5), a(1, 2).includes(2), a(1, 2).indexOf(3)]", [2, None, True, -1]),
        ("[a(1, 2, 1).lastIndexOf(1), a(1, 2, 1).indexOf(1, 1)]", [2, 2]),
        ("a(1, 2).map(lambda item, at, whole: item * at)", [0, 2]),
        ("a(1, 2, 3).filter(lambda item, *_: item > 1)", [2, 3]),
        ("[a(1, 2).find(lambda item, *_: item > 1), a(1).findIndex(lambda item, *_: item > 1)]", [2, -1]),
        ("[a(1, 2).some(lambda item, *_: item > 1), a(1, 2).every(lambda item, *_: item > 1)]", [True, False]),
        ("a(1, 2, 3).reduce(lambda total, item, *_: total + item)", 6),
        ("a(1, 2, 3).reduce(lambda total, item, *_: total + item, 10)", 16),
        ("a(1, a(2, a(3))).flat()", [1, 2, [3]]),
        ("a(1, 2).flatMap(lambda item, *_: a(item, item))", [1, 1, 2, 2]),
        ("a(1, 2, 3).fill(0, 1)", [1, 0, 0]),
        ("a(10, 9, 1, None).sort()", [1, 10, 9, None]),
        ("a(10, 9, 1).sort(lambda one, other: one - other)", [1, 9, 10]),
        ("a('x').entries()", [[0, "x"]]),
        ("[a().shift(), a().pop(), a(1, 2).unshift(0), str(a(1, a(2, 3)))]", [None, None, 3, "1,2,3"]),
        ("a('x').object_entries()", [["0", "x"]]),
        ("[a(1) + [2], 2 * a(1), a('x').object_keys(), a('x').object_values()]", [[1, 2], [1, 1], ["0"], ["x"]]),
        # Objects
        ("Object.fromEntries(a(a('x', 1)))", {"x": 1}),
        ("Object.assign(JsObject({'x': 1}), JsObject({'y': 2}), None)", {"x": 1, "y": 2}),
        ("[Object.keys(JsObject({'x': 1})), Object.values(JsObject({'x': 1}))]", [["x"], [1]]),
        ("Object.entries(JsObject({'x': 1}))", [["x", 1]]),
        ("[Object.isFrozen(Object.freeze(JsObject())), Object.isFrozen(JsObject()), Object.isFrozen(1)]", [1, 0, 1]),
        ("[Object.is_(nan, nan), Object.is_(1, '1'), Object.is_(1, 1)]", [True, False, True]),
        ("[Object.hasOwn(JsObject({'x': 1}), 'x'), Object.hasOwn(JsObject(), 'x')]", [True, False]),
        ("Object.create(JsObject())", {}),
        ("Object.groupBy(a(1, 2, 3), lambda item, at: 'odd' if item % 2 else 'even')['odd']", [1, 3]),
        ("structuredClone(JsObject({'x': a(1, JsObject({'y': 2}))}))", {"x": [1, {"y": 2}]}),
        ("structuredClone(day()).getTime() == day().getTime()", True),
        ("structuredClone(JsMap([('x', 1)])).get('x')", 1),
        ("structuredClone(JsSet([1])).has(1)", True),
        ("bytes(structuredClone(Uint8Array.new(a(1, 2))).to_bytes())", b"\x01\x02"),
        # Bytes
        ("Uint8Array.new(a(1, 257, -1)).to_bytes()", b"\x01\x01\xff"),
        ("Uint16Array.new(a(1, 258)).to_bytes()", b"\x01\x00\x02\x01"),
        ("list(Float32Array.new(a(0.5, 2)))", [0.5, 2]),
        ("Uint8ClampedArray.new(a(300, -5, 1.5)).to_bytes()", b"\xff\x00\x02"),
        ("[Uint8Array.new(3).length, Float64Array.new(2).byteLength]", [3, 16]),
        ("list(Int16Array.new(a(1, 2, 3)).subarray(1))", [2, 3]),
        ("list(Uint8Array.new(a(1, 2, 3)).slice(1, 2))", [2]),
        ("DataView.new(Uint8Array.new(a(0, 1, 2, 3)).buffer).getUint16(1)", 0x0102),
        ("DataView.new(Uint8Array.new(a(0, 1, 2, 3)).buffer).getUint16(1, True)", 0x0201),
        ("DataView.new(Uint8Array.new(a(0, 1, 2, 3)).buffer, 2).byteLength", 2),
    ],
)
def test_an_expression(expression: str, expected: Any) -> None:
    found = eval(expression, dict(NAMES))
    assert plain(found) == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("Date.new('no').toISOString()", "RangeError: Invalid time value"),
        ("day().setDay(1)", "setDay"),
        ("day().getNothing()", "getNothing"),
        ("BigInt(1.5)", "RangeError: The number 1.5 cannot be converted to a BigInt because it is not an integer"),
        ("BigInt('x')", "SyntaxError: Cannot convert x to a BigInt"),
        ("BigInt(None)", "TypeError: Cannot convert undefined to a BigInt"),
        ("decodeURIComponent('%zz')", "URIError: URI malformed"),
        ("decodeURIComponent('%ff')", "URIError: URI malformed"),
        ("encodeURIComponent(chr(0xD800))", "URIError: URI malformed"),
        ("Array.new(-1)", "RangeError: Invalid array length"),
        ("a().reduce(lambda *_: 0)", "TypeError: Reduce of empty array with no initial value"),
        ("Object.keys(None)", "TypeError: Cannot convert undefined or null to object"),
        ("Object.create(1)", "TypeError: Object prototype may only be an Object or null: 1"),
        ("setattr(Object.freeze(JsObject({'x': 1})), 'x', 2)", "TypeError: Cannot assign to read only property 'x'"),
        ("setattr(Object.freeze(JsObject()), 'x', 2)", "TypeError: Cannot add property x, object is not extensible"),
        ("DataView.new(1)", "TypeError: First argument to DataView constructor must be an ArrayBuffer"),
        ("DataView.new(ArrayBuffer.new(2)).getUint32(0)", "RangeError: Offset is outside the bounds of the DataView"),
        ("DataView.new(ArrayBuffer.new(2)).getNothing(0)", "getNothing"),
    ],
)
def test_an_error(expression: str, problem: str) -> None:
    with pytest.raises((JsException, AttributeError)) as caught:
        eval(expression, dict(NAMES))
    assert str(caught.value).startswith(problem)


def test_a_view_writes_where_it_is_told() -> None:
    buffer = ArrayBuffer.new(8)
    view = DataView.new(buffer)
    view.setUint8(0, 255)
    view.setInt16(1, -2)
    view.setFloat32(4, 1.5, True)
    assert bytes(view) == b"\xff\xff\xfe\x00\x00\x00\xc0\x3f"
