"""A text file as blocks of whole lines in UTF-8, unpacked and decoded on the way: never more of it than one block.

Where a block ends does not depend on how many rows somebody wants at a time, so neither does what is read.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from llmrec.errors import DataFault
from llmrec.recipe.sections import Reading

HEAD = 1 << 22  # bytes that are looked at for column names
BLOCK = 1 << 25
PIECE = 1 << 20
TOO_LONG = 1 << 30  # a line of a gigabyte is no line
PACKED = (".gz", ".zst")


def unpacked(name: str) -> str:
    """A file's name without the ending that says how it is packed: `log.csv.zst` -> `log.csv`."""
    return name.removesuffix(".gz").removesuffix(".zst")


def head(path: Path, table: Reading) -> bytes:
    """The first `HEAD` bytes as UTF-8 (still unchecked), without a byte-order mark.

    Raises DataFault where the file is missing, empty, of another format than it says, or packed badly.
    """
    return next(_pieces(path, table, HEAD))


def blocks(path: Path, table: Reading, *, quoted: bool) -> Iterator[bytes]:
    """The file in blocks that end at a line's end, UTF-8 (still unchecked).

    quoted: a line end between two quotes is none, so a block ends before the record that is still open. Where quotes
    never close, it ends at a line all the same: the damage stays in that block.
    """
    rest = b""
    for piece in _pieces(path, table, BLOCK):
        held = rest + piece
        at = held.rfind(b"\n") + 1
        if not at and len(held) > TOO_LONG:
            raise DataFault(f"{path}: a line of more than {TOO_LONG:,} bytes; is it a text file, and ends its lines?")
        if quoted:
            at = _closed(held, at) or at
        if at:
            yield held[:at]
        rest = held[at:]
    if rest:
        yield rest


def _closed(held: bytes, at: int) -> int:
    """The last line end up to `at` where every quote is closed, 0 where there is none."""
    open_quotes = held.count(b'"', 0, at) % 2
    while open_quotes:
        start = held.rfind(b"\n", 0, held.rfind(b'"', 0, at)) + 1
        open_quotes ^= held.count(b'"', start, at) % 2
        at = start
    return at


def _pieces(path: Path, table: Reading, size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes as they lie in the file, as UTF-8; the first one is checked."""
    first = True
    decoder = None if table.encoding == "utf-8" else codecs.getincrementaldecoder(table.encoding)()
    at = 0
    for piece in _raw(path, size):
        text = piece
        if first:
            _check(path, text, table)
        if decoder is not None:
            text = _decoded(decoder, piece, path, table, at)
        if first:
            text = text.removeprefix(codecs.BOM_UTF8)
            if not text.strip():
                raise DataFault(f"{path}: is empty.")
        first = False
        at += len(piece)
        yield text
    if first:
        raise DataFault(f"{path}: is empty.")
    if decoder is not None:
        yield _decoded(decoder, b"", path, table, at, final=True)


def _raw(path: Path, size: int) -> Iterator[bytes]:
    """The file's own bytes, unpacked; DataFault says how far it could be read."""
    done = lines = 0
    try:
        with opened(path) as file:
            parts: list[bytes] = []
            while part := file.read(min(PIECE, size)):
                parts.append(part)
                done += len(part)
                lines += part.count(b"\n")
                if sum(map(len, parts)) >= size:
                    yield b"".join(parts)
                    parts = []
            if parts:
                yield b"".join(parts)
    except FileNotFoundError:
        raise DataFault(f"{path}: there is no such file.") from None
    except (OSError, EOFError, zlib.error) as fault:
        packed = f" It breaks off or is damaged after {done:,} unpacked bytes, in line {lines + 1:,}: get it again."
        raise DataFault(f"{path}: cannot be read ({fault}).{packed if path.suffix in PACKED else ''}") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file for reading, unpacked as its ending says (.gz, .zst)."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as file:
            yield file  # type: ignore[misc]  # has all of it that is used here
    elif path.suffix == ".zst":
        with path.open("rb") as packed, pa.CompressedInputStream(packed, "zstd") as file:
            yield file
    else:
        with path.open("rb") as file:
            yield file


def _check(path: Path, content: bytes, table: Reading) -> None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and table.encoding == "utf-8":
        raise DataFault(f"{path}: is UTF-16; say encoding: utf-16.")
    if content.startswith(b"PAR1"):
        raise DataFault(f"{path}: is Parquet inside; rename it to end in .parquet.")
    if not content.strip():
        raise DataFault(f"{path}: is empty.")


def _decoded(
    decoder: codecs.IncrementalDecoder, piece: bytes, path: Path, table: Reading, at: int, *, final: bool = False
) -> bytes:
    try:
        return decoder.decode(piece, final).encode()
    except UnicodeError as fault:  # also lone surrogates, which UTF-8 has no bytes for
        where = at + (fault.start if isinstance(fault, UnicodeDecodeError) else 0)
        raise DataFault(
            f"{path}: is not {table.encoding} ({fault.reason if isinstance(fault, UnicodeDecodeError) else fault}, "
            f"about byte {where:,}). Say which encoding it has with encoding:, or convert it with iconv."
        ) from None
