"""SQLite and DuckDB: the rows that one SELECT gives, in its order. The file is opened to be read and for nothing else.

Neither can write, attach another file, or load an extension, whatever the query says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from llmrec.data import salvage
from llmrec.data.rows import LINE, Piece, of_bytes
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format, Reading

BATCH = 1 << 16  # rows fetched at once
MAY = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name",
    "duckdb": "SELECT table_name FROM information_schema.tables ORDER BY table_name",
}
# Nothing outside the file: no COPY, no read_csv('/etc/passwd'), no extension fetched, and no way to allow it again.
CLOSED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}


def header(path: Path, kind: Format, table: Reading) -> list[str]:
    """The names of the query's columns."""
    with _asked(path, kind, table) as answer:
        return [str(column[0]) for column in answer.description]


def pieces(path: Path, kind: Format, table: Reading, columns: Mapping[str, str]) -> Iterator[Piece]:
    """The named columns as strings; `line` is the row of the answer, from 1."""
    start = 1
    with _asked(path, kind, table) as answer:
        names = [str(column[0]) for column in answer.description]
        while True:
            try:
                rows = answer.fetchmany(BATCH)
            except _faults(kind) as fault:
                raise DataFault(f"{path}: the query broke off after row {start - 1:,} ({_first(fault)}).") from None
            if not rows:
                return
            read = {ours: [_text(row[names.index(theirs)]) for row in rows] for ours, theirs in columns.items()}
            lines = pl.Series(LINE, range(start, start + len(rows)), dtype=pl.Int64)
            frame = pl.DataFrame(read, schema=dict.fromkeys(columns, pl.String)).insert_column(0, lines)
            yield Piece(frame, salvage.nothing_bad(), len(rows))
            start += len(rows)


def _text(value: Any) -> str | None:
    """Values of a column may be of several types in SQLite, so all of them are text here, as in a CSV."""
    if value is None or isinstance(value, str):
        return value
    return of_bytes(value) if isinstance(value, bytes) else str(value)


@contextmanager
def _asked(path: Path, kind: Format, table: Reading) -> Iterator[Any]:
    """A cursor over the query's answer; DataFault where there is no file, no query, or it does not answer."""
    if not path.is_file():
        raise DataFault(f"{path}: there is no such file.")
    with closing(_connected(path, kind)) as connection:
        try:
            tables = [str(row[0]) for row in connection.execute(TABLES[kind]).fetchall()]
        except _faults(kind) as fault:
            raise DataFault(f"{path}: is no {kind} file ({_first(fault)}).") from None
        there = f"its tables are {', '.join(tables) or 'none'}"
        if table.query is None:
            raise DataFault(f"{path}: is a database; say query: SELECT ... ORDER BY ...; {there}.")
        try:
            if kind == "sqlite":
                connection.set_authorizer(_allowed)
            else:
                _check_select(connection, path, table.query)
            answer = connection.execute(table.query)
        except _faults(kind) as fault:
            denied = " A query may only read: one SELECT." if "not authorized" in str(fault) else ""
            raise DataFault(f"{path}: the query does not run ({_first(fault)}); {there}.{denied}") from None
        if answer.description is None:
            raise DataFault(f"{path}: the query gives no rows. A query may only read: one SELECT.")
        yield answer


def _connected(path: Path, kind: Format) -> Any:
    try:
        if kind == "sqlite":
            return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
        return _duckdb().connect(str(path), read_only=True, config=CLOSED)
    except _faults(kind) as fault:
        raise DataFault(f"{path}: is no {kind} file that can be opened ({_first(fault)}).") from None


def _allowed(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in MAY else sqlite3.SQLITE_DENY


def _check_select(connection: Any, path: Path, query: str) -> None:
    statements = connection.extract_statements(query)
    if [one.type for one in statements] != [_duckdb().StatementType.SELECT]:
        raise DataFault(f"{path}: a query may only read: one SELECT.")


def _faults(kind: Format) -> tuple[type[Exception], ...]:
    own = (sqlite3.Error, sqlite3.Warning) if kind == "sqlite" else (_duckdb().Error,)
    return (*own, ValueError)


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise DataFault("DuckDB is not installed: pip install 'llmrec[sql]'.") from None
    return duckdb


def _first(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0].rstrip(".")
