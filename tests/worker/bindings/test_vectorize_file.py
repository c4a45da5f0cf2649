"""The files of Vectorize: exact search, metrics, kills, and other processes."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfai.worker.bindings.vectorize_file import METRICS, VectorizeFile, index_file
from cfai.worker.bindings.vectorize_rules import Asked, Vector, VectorizeError


def vector(name: str, *values: float, namespace: str | None = None, **metadata: object) -> Vector:
    return Vector(name, array("f", values), namespace, json.dumps(metadata) if metadata else None)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorizeFile]:
    opened = VectorizeFile(index_file(tmp_path, "docs"))
    yield opened
    opened.close()


def found(index: VectorizeFile, values: list[float] | str, asked: Asked = Asked()) -> list[str]:  # noqa: B008
    matches, _ = index.query(values, asked)
    return [match.vector.id for match in matches]


def score(metric: str, one: list[float], other: list[float]) -> float:
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    if metric == "cosine":
        return product / math.hypot(*one) / math.hypot(*other)
    return math.dist(one, other) if metric == "euclidean" else -product


@pytest.mark.parametrize("metric", METRICS)
def test_the_search_is_exact(index: VectorizeFile, metric: str) -> None:
    random.seed(7)
    index.create(16, metric)
    vectors = [vector(str(n), *(random.gauss(0, 1) for _ in range(16)), even=n % 2 == 0) for n in range(500)]
    for at in range(0, 500, 100):
        index.put("VECTOR_INSERT", vectors[at : at + 100])
    index.put("VECTOR_UPSERT", [vectors[3], vectors[4]])
    index.delete([str(n) for n in range(0, 500, 7)])
    query = [random.gauss(0, 1) for _ in range(16)]
    query = list(array("f", query))
    left = [one for one in vectors if int(one.id) % 7]
    for asked in (Asked(100), Asked(100, filter={"even": True})):
        wanted = [one for one in left if asked.filter is None or int(one.id) % 2 == 0]
        ranked = sorted(wanted, key=lambda one: score(metric, list(one.values), query), reverse=metric == "cosine")
        matches, _ = index.query(query, asked)
        assert [match.vector.id for match in matches] == [one.id for one in ranked[:100]]
        assert [match.score for match in matches] == pytest.approx(
            [score(metric, list(one.values), query) for one in ranked[:100]]
        )


def test_of_equals_the_first_comes_first(index: VectorizeFile) -> None:
    index.put("VECTOR_INSERT", [vector(str(n), 1.0, 1.0) for n in range(300)])
    assert found(index, [1.0, 1.0], Asked(3)) == ["0", "1", "2"]


def test_a_vector_of_zeros_is_like_nothing(index: VectorizeFile) -> None:
    index.put("VECTOR_INSERT", [vector("zero", 0.0, 0.0), vector("one", -1.0, 0.0)])
    matches, _ = index.query([1.0, 0.0], Asked())
    assert [(match.vector.id, match.score) for match in matches] == [("zero", 0.0), ("one", -1.0)]


def test_what_another_process_writes_is_found(index: VectorizeFile, tmp_path: Path) -> None:
    other = VectorizeFile(index_file(tmp_path, "docs"))
    index.put("VECTOR_INSERT", [vector("a", 1.0, 0.0)])
    assert found(other, [1.0, 0.0]) == ["a"]
    index.put("VECTOR_UPSERT", [vector("a", 0.0, 1.0), vector("b", 1.0, 0.0)])
    assert found(other, [1.0, 0.0]) == ["b", "a"]
    other.delete(["b"])
    other.put("VECTOR_INSERT", [vector("c", 1.0, 0.1)])
    assert found(index, [1.0, 0.0]) == found(other, [1.0, 0.0]) == ["c", "a"]
    assert found(index, "c", Asked(1)) == ["c"]
    other.close()


def test_dimensions_and_metric_are_fixed_once(index: VectorizeFile) -> None:
    index.create(2, "dot-product")
    with pytest.raises(VectorizeError, match="the index has dimensions already"):
        index.create(3, "cosine")
    with pytest.raises(VectorizeError, match='invalid vector for id="a", expected 2 dimensions, and got 3'):
        index.put("VECTOR_INSERT", [vector("a", 1.0, 2.0, 3.0)])
    assert (index.info().dimensions, index.info().metric, index.info().count) == (2, "dot-product", 0)


def test_at_most_ten_metadata_indexes(index: VectorizeFile) -> None:
    for n in range(10):
        index.add_property(f"p{n}", "string")
    index.add_property("p3", "number")
    with pytest.raises(VectorizeError, match="at most 10 metadata indexes"):
        index.add_property("p10", "string")
    assert index.info().properties["p3"] == "number"


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    file = index_file(tmp_path, "docs")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(VectorizeError, match=r"docs\.sqlite: file is not a database"):
        VectorizeFile(file)
    assert file.read_bytes().startswith(b"not a database")


WRITER = """
import sys
from array import array
from pathlib import Path
from cfai.worker.bindings.vectorize_file import VectorizeFile
from cfai.worker.bindings.vectorize_rules import Vector

index = VectorizeFile(Path(sys.argv[1]))
for n in range(int(sys.argv[2]), 1_000_000):
    index.put("VECTOR_INSERT", [Vector(f"{half}{n}", array("f", [n, 1.0])) for half in "ab"])
    print(n, flush=True)
"""


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    file = index_file(tmp_path, "docs")
    next_number = 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(file), str(next_number)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.02, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = [next_number, *map(int, process.stdout.read().split())]
        process.stdout.close()
        process.wait()
        index = VectorizeFile(file)
        count = index.info().count
        assert count % 2 == 0 and count >= 2 * (acknowledged[-1] + 1)
        names = [f"{half}{acknowledged[-1]}" for half in "ab"]
        assert [one.id for one in index.get(names)] == names
        index.close()
        next_number = count // 2
