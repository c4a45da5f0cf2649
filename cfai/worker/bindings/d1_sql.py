"""SQL text as D1 reads it: cut into statements, and what of it is refused.

Facts: workerd's `util/sqlite.c++` and `api/sql.c++`, and what wrangler 4.86 answers locally.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LIMITS", "Statement", "allowed", "cut", "is_blank", "offset_of"]

LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2_200_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}

_PRAGMAS = {
    "case_sensitive_like",
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "ignore_check_constraints",
    "index_info",
    "index_list",
    "index_xinfo",
    "legacy_alter_table",
    "optimize",
    "quick_check",
    "recursive_triggers",
    "reverse_unordered_selects",
    "table_info",
    "table_list",
    "table_xinfo",
}
_MODULES = {"fts5", "fts5vocab"}
_DENIED_FUNCTIONS = {
    "fts5_source_id",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
    "sqlite_source_id",
    "sqlite_version",
}
_DENIED_ACTIONS = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_CREATE_TEMP_INDEX,
    sqlite3.SQLITE_CREATE_TEMP_TABLE,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    sqlite3.SQLITE_CREATE_TEMP_VIEW,
}
_NAMES_A_TABLE_SECOND = {
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TRIGGER,
}
_NAMES_A_TABLE_FIRST = {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_CREATE_VTABLE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_VTABLE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_UPDATE,
}
# Tables of the runtime itself; spelled in capitals they are anybody's.
_RESERVED = "_cf_"


def allowed(action: int, first: str | None, second: str | None) -> bool:
    """SQLite's authorizer: whether a statement may do this."""
    if action == sqlite3.SQLITE_PRAGMA:
        return (first or "").lower() in _PRAGMAS
    if action == sqlite3.SQLITE_FUNCTION:
        return (second or "").lower() not in _DENIED_FUNCTIONS
    if action == sqlite3.SQLITE_CREATE_VTABLE and (second or "").lower() not in _MODULES:
        return False
    if action in _NAMES_A_TABLE_FIRST:
        return not (first or "").startswith(_RESERVED)
    if action in _NAMES_A_TABLE_SECOND:
        return not (second or "").startswith(_RESERVED)
    return action not in _DENIED_ACTIONS


_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff]+|--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
    |(?P<parameter>\?\d*|[:@$][\w$]+)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<number>\d[\w.]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_TRANSACTIONS = {"BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT"}
_READS = {"EXPLAIN", "PRAGMA", "SELECT", "VALUES"}
_WRITES = {"DELETE", "INSERT", "REPLACE", "UPDATE"}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Without a keyword it is only comments."""

    text: str
    keyword: str
    words: frozenset[str]
    has_parameters: bool

    @property
    def is_transaction(self) -> bool:
        """BEGIN and its like: D1 runs every batch in a transaction of its own."""
        return self.keyword in _TRANSACTIONS

    @property
    def reads_only(self) -> bool:
        return self.keyword in _READS or (self.keyword == "WITH" and not self.words & _WRITES)


def is_blank(sql: str) -> bool:
    """Whether a query is nothing but white space and indented `--` lines, which D1 leaves out of a batch."""
    return not re.sub(r"^\s+--.*", "", sql, flags=re.MULTILINE).strip()


def cut(sql: str) -> tuple[Statement, ...]:
    """The statements of `sql`, in order. What follows the last semicolon is one of them unless it is white space."""
    return tuple(_cut(sql))


def _cut(sql: str) -> Iterator[Statement]:
    start = 0
    words: list[str] = []
    parameters = False
    for token in _TOKEN.finditer(sql):
        if token.lastgroup == "word":
            words.append(token[0].upper())
        elif token.lastgroup == "parameter":
            parameters = True
        elif token[0] == ";" and _is_whole(text := sql[start : token.end()], words):
            yield _statement(text, words, parameters)
            start, words, parameters = token.end(), [], False
    if (rest := sql[start:]).strip() or start == 0:
        yield _statement(rest, words, parameters)


def _is_whole(text: str, words: list[str]) -> bool:
    # Only the body of a trigger has semicolons of its own.
    is_trigger = words[:1] == ["CREATE"] and "TRIGGER" in words[1:3]
    return not is_trigger or sqlite3.complete_statement(text)


def _statement(text: str, words: list[str], parameters: bool) -> Statement:
    text = text.lstrip()
    first = next((token for token in _TOKEN.finditer(text) if token.lastgroup != "space"), None)
    keyword = "" if first is None or first[0] == ";" else first[0].upper()
    return Statement(_numbered(text) if parameters else text, keyword, frozenset(words), parameters)


def _numbered(text: str) -> str:
    """`:name`, `@name` and `$name` as `?N`: values come in order, and sqlite3 wants names for names."""
    highest = 0
    names: dict[str, int] = {}

    def number(token: re.Match[str]) -> str:
        nonlocal highest
        if token.lastgroup != "parameter":
            return token[0]
        if token[0] == "?":
            highest += 1
            return token[0]
        if token[0].startswith("?"):
            highest = max(highest, int(token[0][1:]))
            return token[0]
        if token[0] not in names:
            highest += 1
            names[token[0]] = highest
        return f"?{names[token[0]]}"

    numbered = _TOKEN.sub(number, text)
    return numbered if names else text


_AT_A_NAME = re.compile(
    r"(?:no such column: |no such function: |ambiguous column name: |not authorized to use function: "
    r"|wrong number of arguments to function |too many arguments on function |misuse of aggregate(?: function|:)? )"
    r"(?P<name>[\w$.]+)|table (?P<table>\S+) already exists"
)


def offset_of(message: str, text: str, connection: sqlite3.Connection) -> int | None:
    """Where in `text` an error is, in bytes, for the errors whose place D1 tells. sqlite3 keeps it from Python."""
    at = _place(message, text, connection)
    return None if at is None else len(text[:at].encode())


def _place(message: str, text: str, connection: sqlite3.Connection) -> int | None:
    if near := re.fullmatch(r'near "(.*)": syntax error', message, re.DOTALL):
        starts = [token.start() for token in _TOKEN.finditer(text) if text.startswith(near[1], token.start())]
        return next((at for at in starts if _fails_at(text[: at + len(near[1])], message, connection)), None)
    if unrecognized := re.fullmatch(r'unrecognized token: "(.*)"', message, re.DOTALL):
        return None if (at := text.find(unrecognized[1])) < 0 else at
    if message.startswith("variable number must be between"):
        numbers = (token for token in _TOKEN.finditer(text) if token.lastgroup == "parameter")
        highest = LIMITS[sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER]
        return next((token.start() for token in numbers if int(token[0][1:] or 0) > highest), None)
    if named := _AT_A_NAME.match(message):
        name = named["name"] or named["table"]
        whole = re.compile(rf"""["`[]?{re.escape(name)}(?![\w$])""", re.IGNORECASE)
        tokens = (token.start() for token in _TOKEN.finditer(text) if token.lastgroup in ("word", "quoted"))
        return next((at for at in tokens if whole.match(text, at)), None)
    return None


def _fails_at(prefix: str, message: str, connection: sqlite3.Connection) -> bool:
    # Behind EXPLAIN a statement is compiled and not run.
    explained = prefix if prefix.lstrip()[:7].upper() == "EXPLAIN" else f"EXPLAIN {prefix}"
    try:
        connection.execute(explained).close()
    except sqlite3.ProgrammingError:
        return False  # compiled, and has parameters
    except sqlite3.Error as error:
        return str(error) == message
    return False
