"""Make pyodide.json: what Pyodide's versions have, from npm's `pyodide` packages.

    npm install a@npm:pyodide@0.26.4 b@npm:pyodide@0.28.2 c@npm:pyodide@314.0.7
    python -m cfai.doctor.pyodide_packages node_modules/a node_modules/b node_modules/c

The packages come from a version's lock file; which modules of the standard library it lacks is asked of the version
itself, in Node.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TRY_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
missing = []
for name in sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "test"}):
    try:
        importlib.import_module(name)
    except BaseException:
        missing.append(name)
json.dumps(missing)
"""


TARGET = Path(__file__).with_name("pyodide.json")


def main(folders: list[str], target: Path = TARGET) -> None:
    made = {}
    for folder in map(Path, folders):
        version = json.loads((folder / "package.json").read_text())["version"]
        packages = json.loads((folder / "pyodide-lock.json").read_text())["packages"].values()
        kept = [one for one in packages if one["package_type"] == "package"]
        # The parts of the standard library that Pyodide loads on their own are there on Cloudflare.
        loaded = {name for one in packages if one["package_type"] == "cpython_module" for name in one["imports"]}
        made[version] = {
            "packages": {_normal(one["name"]): sorted(one["imports"]) for one in kept},
            "missing": [name for name in _missing(folder) if name not in loaded and not name.startswith("_")],
        }
    target.write_text(_in_lines(made) + "\n", "utf-8")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _missing(folder: Path) -> list[str]:
    script = f"""
    import {{ loadPyodide }} from {json.dumps(str((folder / "pyodide.mjs").absolute()))};
    const pyodide = await loadPyodide();
    console.log(pyodide.runPython({json.dumps(TRY_ALL)}));
    """
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def _in_lines(made: dict[str, Any]) -> str:
    """JSON with a line per package, so that a change of version is read as one."""
    versions = []
    for version, found in made.items():
        packages = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(found["packages"].items())
        )
        versions.append(
            f' {json.dumps(version)}: {{\n  "missing": {json.dumps(found["missing"])},\n'
            f'  "packages": {{\n{packages}\n  }}\n }}'
        )
    return "{\n" + ",\n".join(versions) + "\n}"


if __name__ == "__main__":
    main(sys.argv[1:])
