"""The patterns of a `.gitignore`, which are those of an `.assetsignore` too."""

from __future__ import annotations

import re

__all__ = ["IgnoreRules"]


class IgnoreRules:
    """Which files the lines of such a file leave out.

    ```python
    IgnoreRules("*.map\\n!keep.map").ignores("/js/app.map")  # True
    ```
    """

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _rule(line)) is not None]

    def ignores(self, path: str) -> bool:
        """Whether the file at `path`, which begins with a slash, is left out. So is all in a folder that is."""
        parts = path.strip("/").split("/")
        return any(self._matches("/".join(parts[:count]), count < len(parts)) for count in range(1, len(parts) + 1))

    def _matches(self, path: str, is_folder: bool) -> bool:
        # The last rule that fits decides.
        for pattern, excludes, folders_only in reversed(self._rules):
            if (is_folder or not folders_only) and pattern.fullmatch(path):
                return excludes
        return False


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    if not line or line.startswith("#"):
        return None
    excludes = not line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.removesuffix("/")
    # A slash at the start or in the middle ties a pattern to the top folder.
    anywhere = "/" not in line
    body = _TOKEN.sub(_translated, line.removeprefix("/"))
    try:
        return re.compile(f"(?:.*/)?{body}" if anywhere else body, re.DOTALL | re.IGNORECASE), excludes, folders_only
    except re.error:
        return None


_TOKEN = re.compile(r"\\(.)|^\*\*/|/\*\*/|/\*\*$|\*+|\?|\[(!?)((?:\\.|[^\]\\])+)\]|[^\\*?\[]|[\\\[]", re.DOTALL)
_SPECIAL = {"**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "/**": "/.+", "?": "[^/]"}


def _translated(found: re.Match[str]) -> str:
    token = found[0]
    if token in _SPECIAL:
        return _SPECIAL[token]
    if token.startswith("*"):
        return "[^/]*"
    if found[1]:
        return re.escape(found[1])
    if found[3]:
        return f"[{'^' if found[2] else ''}{found[3].replace('[', chr(92) + '[')}]"
    return re.escape(token)
