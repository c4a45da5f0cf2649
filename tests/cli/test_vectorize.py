"""`cfai vectorize`: what the config does not hold."""

import json
from array import array
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.worker.bindings.vectorize_file import VectorizeFile, index_file
from cfai.worker.bindings.vectorize_rules import Vector

CONFIG = {
    "name": "p",
    "main": "entry.py",
    "compatibility_date": "2026-04-21",
    "compatibility_flags": ["python_workers"],
    "vectorize": [{"binding": "INDEX", "index_name": "docs"}, {"binding": "OTHER", "index_name": "other"}],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wrangler.json").write_text(json.dumps(CONFIG))
    (tmp_path / "entry.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLOUDFLARE_ENV", raising=False)
    return tmp_path


def vectorize(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["vectorize", *arguments])


def test_dimensions_and_metric_are_fixed_before_the_first_vector(project: Path) -> None:
    assert vectorize("create", "docs", "--dimensions", "2", "--metric", "euclidean").exit_code == 0
    index = VectorizeFile(index_file(project / ".wrangler/state/v3", "docs"))
    index.put("VECTOR_INSERT", [Vector("a", array("f", [1, 2]))])
    index.close()
    found = json.loads(vectorize("info", "docs", "--json").stdout)
    assert (found["dimensions"], found["metric"], found["vectorCount"]) == (2, "euclidean", 1)
    again = vectorize("create", "docs", "--dimensions", "3", "--metric", "cosine")
    assert (again.exit_code, "cannot be changed" in again.output) == (1, True)
    listed = json.loads(vectorize("list", "--json").stdout)
    assert [(one["name"], one["dimensions"], one["vectorCount"]) for one in listed] == [
        ("docs", 2, 1),
        ("other", None, 0),
    ]
    assert not index_file(project / ".wrangler/state/v3", "other").exists()


def test_metadata_indexes(project: Path) -> None:
    made = vectorize("create-metadata-index", "docs", "--property-name", "a.b", "--type", "string")
    assert made.exit_code == 0
    assert json.loads(vectorize("list-metadata-index", "docs", "--json").stdout) == [
        {"propertyName": "a.b", "indexType": "string"}
    ]
    assert "a.b" in vectorize("list-metadata-index", "docs").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nope"], "the config has no vectorize index 'nope'"),
        (["create", "docs", "--dimensions", "1537", "--metric", "cosine"], "1537 is not in the range 1<=x<=1536"),
        (["create", "docs", "--dimensions", "2", "--metric", "near"], "'near' is none of cosine, euclidean"),
        (["create-metadata-index", "docs", "--property-name", "a", "--type", "date"], "'date' is none of string"),
    ],
)
def test_what_is_refused(project: Path, arguments: list[str], message: str) -> None:
    result = vectorize(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
