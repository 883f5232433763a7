"""More ways in which people keep tables: each reads as a plain file would, and says what it cannot be."""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from llmrec.data import readers, streams
from llmrec.data.manifest import Table
from llmrec.errors import DataFault

COLUMNS = {"user": "who", "item": "what", "time": "when"}
LOG = pl.DataFrame({"who": ["ann", "bob", "ann"], "what": ["Heat", "Up", "Amélie"], "when": [10, 11, 12]})
READ = [("ann", "Heat", "10"), ("bob", "Up", "11"), ("ann", "Amélie", "12")]


def read(path: Path, **table: object) -> readers.Rows:
    return readers.read(path, Table(file=path.name, **table), COLUMNS)  # type: ignore[arg-type]


def triples(rows: readers.Rows) -> list[tuple[str, ...]]:
    return rows.table.select("user", "item", "time").cast(pl.String).rows()


def csv_of(separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in [LOG.columns, *LOG.rows()])


def packed(text: str, how: str) -> bytes:
    if how == "gz":
        return gzip.compress(text.encode())
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(text.encode())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("separator", ["|", "~", "¦", "||", "\x01", " ## "])
def test_anything_may_stand_between_columns(tmp_path: Path, separator: str):
    (tmp_path / "a.csv").write_text(csv_of(separator), encoding="utf-8")
    assert triples(read(tmp_path / "a.csv", separator=separator)) == READ


def test_a_comma_in_a_quoted_name_stands_between_no_columns(tmp_path: Path):
    (tmp_path / "a.csv").write_text('who;what;when;"seen, or not"\nann;Heat;10;yes\n', encoding="utf-8")
    assert triples(read(tmp_path / "a.csv")) == READ[:1]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_name_that_two_columns_have_names_neither(tmp_path: Path, name: str):
    (tmp_path / "a.csv").write_text("who,what,when,what,x,x\nann,Heat,10,Up,,\n", encoding="utf-8")
    table = pa.Table.from_arrays([pa.array(["a"])] * 6, names=["who", "what", "when", "what", "x", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataFault, match=rf"{name}: has 2 columns 'what'"):
        read(tmp_path / name)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "mac-roman", "utf-8-sig", "UTF8"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_any_encoding_that_python_knows(tmp_path: Path, encoding: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "BLOCK", 7)  # a letter of two bytes may lie across two pieces
    (tmp_path / name).write_bytes(csv_of("\t" if name == "a.tsv" else ",").encode(encoding))
    assert triples(read(tmp_path / name, encoding=encoding)) == READ


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13"])
def test_an_encoding_that_there_is_not(name: str):
    with pytest.raises(ValidationError, match=f"'{name}' is no encoding that Python knows"):
        Table(file="a.csv", encoding=name)


def test_an_encoding_that_does_not_fit_says_where(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(csv_of().encode())
    with pytest.raises(DataFault, match=r"a.csv: is not ascii \(.*, byte 43\). Say which"):
        read(tmp_path / "a.csv", encoding="ascii")


@pytest.mark.parametrize("how", ["gz", "zst"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_packed_files_read_as_they_are(tmp_path: Path, name: str, how: str):
    path = tmp_path / f"{name}.{how}"
    path.write_bytes(packed(csv_of() if name == "a.csv" else LOG.write_ndjson(), how))
    assert triples(read(path)) == READ


@pytest.mark.parametrize(("how", "damage"), [("gz", "cut"), ("gz", "changed"), ("zst", "cut")])
def test_a_broken_packed_file_says_how_far_it_could_be_read(
    tmp_path: Path, how: str, damage: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams, "HEAD", 100)
    text = csv_of() + "".join(f"{n % 991},{n * 7919 % 10007},{n}\n" for n in range(200_000))
    content = bytearray(packed(text, how))
    if damage == "cut":
        content = content[: len(content) * 9 // 10]
    else:
        content[len(content) * 9 // 10] ^= 255
    (tmp_path / f"a.csv.{how}").write_bytes(content)
    with pytest.raises(
        DataFault, match=r"cannot be read .* after [\d,]+ unpacked bytes, in line [\d,]+: get it"
    ) as fault:
        read(tmp_path / f"a.csv.{how}")
    line = int(str(fault.value).split("in line ")[1].split(":")[0].replace(",", ""))
    assert 1 <= line <= 200_004


def test_old_mac_line_ends_are_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text(csv_of().replace("\n", "\r"), encoding="utf-8", newline="")
    with pytest.raises(DataFault, match="carriage returns alone"):
        read(tmp_path / "a.csv")


def test_control_characters_are_letters_like_others(tmp_path: Path):
    odd = "a\x00b\x0bc\x0cd\x1be\x85f\u2028g\x7f"
    (tmp_path / "a.csv").write_text(
        f"who,what,when\nann,{odd},10\nbob,U\rp,11\ncat,{{{{ x }}}} {{% y %}},12\n", newline=""
    )
    rows = read(tmp_path / "a.csv")
    assert [row[1] for row in triples(rows)] == [odd, "U\rp", "{{ x }} {% y %}"]
    assert rows.table["line"].to_list() == [2, 3, 4]
    whats = [odd, "\ud83d", "\U0001f600", "\udc00x"]
    lines = [{"who": "a", "what": what, "when": 1} for what in whats]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read(tmp_path / "a.jsonl")
    assert rows.table["item"].to_list() == [odd, "\U0001f600"]
    assert [(line, why) for line, why, _ in rows.bad.rows()] == [(2, "half a letter"), (4, "half a letter")]


def test_a_title_of_ten_thousand_letters_is_read_whole(tmp_path: Path):
    long = "x" * 200_000
    (tmp_path / "a.csv").write_text(f'who,what,when\nann,"{long}\n{long}",10\n')
    assert read(tmp_path / "a.csv").table["item"][0] == f"{long}\n{long}"


def test_python_lines_are_read_and_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = [
        "{u'who': u'ann', 'what': \"Ann's Tower\", 'when': 10, 'tags': ['a', ('b', 1)]}",
        "__import__('os').system('echo run')",
        "{'who': print('run'), 'what': 'x', 'when': 1}",
        "{'who': 'bob', 'what': '\\d', 'when': 11.5}",
        "[1]",
        "(" * 5000,
    ]
    (tmp_path / "a.json").write_text("\n".join(lines), encoding="utf-8")
    rows = read(tmp_path / "a.json", format="python")
    assert triples(rows) == [("ann", "Ann's Tower", "10"), ("bob", "\\d", "11.5")]
    assert [(line, why) for line, why, _ in rows.bad.rows()] == [
        (2, "not Python"),
        (3, "not Python"),
        (5, "not a Python object"),
        (6, "not Python"),
    ]
    assert "run" not in capsys.readouterr().out


def test_dates_of_any_form_become_seconds(tmp_path: Path):
    (tmp_path / "a.csv").write_text("who,what,when\na,1,31.12.2020 23:59\nb,2,31.13.2020 00:00\nc,3,\n")
    rows = read(tmp_path / "a.csv", time_format="%d.%m.%Y %H:%M")
    assert rows.table.select("line", "time").rows() == [(2, 1609459140), (4, None)]
    assert rows.bad.rows() == [(3, "time cannot be read", "b,2,31.13.2020 00:00")]


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "saved"])
def test_arrow_in_its_forms(tmp_path: Path, name: str):
    path = tmp_path / name
    if name == "a.arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, LOG.to_arrow().schema) as writer:
            writer.write_table(LOG.to_arrow())
    elif name == "a.feather":
        LOG.write_ipc(path)
    else:
        import datasets

        datasets.Dataset.from_dict(LOG.to_dict(as_series=False)).select([2, 0, 1]).select([1, 2, 0]).save_to_disk(path)
    assert triples(read(path)) == READ
    assert read(path).table.schema["time"] == pl.Int64


def test_a_saved_dataset_of_several_splits_asks_for_one(tmp_path: Path):
    (tmp_path / "saved" / "train").mkdir(parents=True)
    (tmp_path / "saved" / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataFault, match="several splits; name one of them: .*saved/train"):
        read(tmp_path / "saved")


def test_files_of_a_folder_are_read_by_name_and_their_rows_can_be_found(tmp_path: Path):
    folder = tmp_path / "log"
    for at, row in enumerate(LOG.rows()):
        part = folder / f"part={at % 2}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{at}.csv").write_text(f"who,what,when\n{','.join(map(str, row))}\n", encoding="utf-8")
    (folder / "_SUCCESS").touch()
    (folder / ".part.csv.crc").write_bytes(b"\0")
    columns = COLUMNS | {"part": "part"}
    table = Table(file="log")
    assert readers.header(folder, table) == ["who", "what", "when", "part"]
    every = list(readers.batches(folder, table, columns))
    assert [(rows.file, rows.before) for rows in every] == [
        ("part=0/0.csv", 0),
        ("part=0/2.csv", 2),
        ("part=1/1.csv", 4),
    ]
    whole = readers.read(folder, table, columns).table
    assert whole.select("line", "user", "item", "part").rows() == [
        (2, "ann", "Heat", "0"),
        (4, "ann", "Amélie", "0"),
        (6, "bob", "Up", "1"),
    ]


def test_a_pattern_and_a_list_name_several_files(tmp_path: Path):
    for at, row in enumerate(LOG.rows()):
        (tmp_path / f"{at}.csv").write_text(f"who,what,when\n{','.join(map(str, row))}\n", encoding="utf-8")
    (tmp_path / "notes.csv").write_text("nothing of the kind\n")
    assert triples(read(tmp_path / "[0-9].csv")) == READ
    listed = Table(file="some", files=["2.csv", str(tmp_path / "0.csv")])
    assert triples(readers.read(tmp_path, listed, COLUMNS)) == [READ[2], READ[0]]
    with pytest.raises(DataFault, match="no file is called like this"):
        read(tmp_path / "*.tsv")


@pytest.mark.parametrize(
    "pattern", ["logs/when=*", "logs/*/*.csv", "logs/**/*.csv", "l?gs/when=1[0-2]/a.csv", "[my] logs/*.csv"]
)
def test_a_pattern_may_name_folders_whose_names_are_columns(tmp_path: Path, pattern: str):
    for who, what, when in LOG.rows():
        (tmp_path / "logs" / f"when={when}").mkdir(parents=True)
        (tmp_path / "logs" / f"when={when}" / "a.csv").write_text(f"who,what\n{who},{what}\n", encoding="utf-8")
    (tmp_path / "[my] logs").mkdir()
    (tmp_path / "[my] logs" / "a.csv").write_text(csv_of(), encoding="utf-8")
    assert triples(read(tmp_path / pattern)) == READ


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "is a folder; give a file"),
        ({"readme.md": b"x", "_log.csv": b"x"}, r"no data file in it \(2 others\)"),
        (
            {"a.csv": b"who,what,when\na,b,1\n", "b.jsonl": b"{}\n"},
            r"several formats: csv \(a.csv\), jsonl \(b.jsonl\)",
        ),
        ({"a.csv": b"who,what,when\na,b,1\n", "b.csv": b"who,what\na,b\n"}, "b.csv: no column 'when'"),
    ],
)
def test_a_folder_that_cannot_be_one_table_says_why(tmp_path: Path, files: dict[str, bytes], says: str):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFault, match=says):
        read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "becomes"),
    [
        (pl.Int64, pl.Int32, pl.Int64),
        (pl.UInt64, pl.UInt32, pl.UInt64),
        (pl.Int64, pl.UInt64, pl.String),  # no other type holds all that both do
        (pl.Int64, pl.Float64, pl.Float64),
        (pl.Int64, pl.String, pl.String),
        (pl.Null, pl.Int64, pl.Int64),
        (pl.Date, pl.Datetime("ms"), pl.Datetime("us", "UTC")),
    ],
)
def test_types_that_change_across_files_are_united(
    tmp_path: Path, one: pl.DataType, other: pl.DataType, becomes: object
):
    for at, kind in enumerate((one, other)):
        values = [None] if kind == pl.Null else [1]
        pl.DataFrame({"who": "a", "what": "b", "when": pl.Series(values).cast(kind)}).write_parquet(
            tmp_path / f"{at}.parquet"
        )
    table = read(tmp_path).table
    assert table.schema["time"] == becomes
    assert table.height == 2


def test_types_that_nothing_unites_name_both_files(tmp_path: Path):
    pl.DataFrame({"who": "a", "what": "b", "when": [1]}).write_parquet(tmp_path / "0.parquet")
    pl.DataFrame({"who": "a", "what": "b", "when": [[1]]}).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(DataFault, match=r"1.parquet: .*time is List\(Int64\), and in .*0.parquet it is Int64"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_ids_that_are_bytes_and_no_text_stay_apart(tmp_path: Path, kind: str):
    path = tmp_path / f"a.{kind}"
    log = [(b"\xff\x01", b"Heat", None), (b"\xfe\x01", "Amélie".encode(), b"7")]
    if kind == "parquet":
        pl.DataFrame(log, schema=dict.fromkeys(COLUMNS.values(), pl.Binary), orient="row").write_parquet(path)
    else:
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute('CREATE TABLE log (who, what, "when")')
            file.executemany("INSERT INTO log VALUES (?, ?, ?)", log)
            file.commit()
    rows = read(path, query="SELECT * FROM log" if kind == "sqlite" else None)
    assert triples(rows) == [("ff01", "Heat", None), ("fe01", "Amélie", "7")]


def test_ids_that_are_lists_are_a_fault_that_says_so(tmp_path: Path):
    pl.DataFrame({"who": ["a"], "what": [[1, 2]], "when": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataFault, match=r"a.parquet: column 'what' \(for item\) is List\(Int64\); an id is one value"):
        read(tmp_path / "a.parquet")


def test_a_parquet_file_that_is_cut_says_so(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"who": "a", "what": "b", "when": range(100_000)}).write_parquet(path, compression="uncompressed")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:5000])
    with pytest.raises(DataFault, match="is no Parquet file"):
        read(path)
    content[40:4000] = bytes(3960)
    path.write_bytes(content)
    with pytest.raises(DataFault, match="is damaged after row 0"):
        read(path)


def shop(folder: Path, kind: str) -> Path:
    path = folder / f"shop.{kind}"
    rows = "INSERT INTO log VALUES ('ann', 'Heat', 10), ('bob', 'Up', 11), ('ann', 'Amélie', 12)"
    if kind == "sqlite":
        with sqlite3.connect(path) as file:
            file.execute("CREATE TABLE log (who, what, moment)")
            file.execute(rows)
        file.close()
    else:
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect(str(path)) as file:
            file.execute("CREATE TABLE log (who VARCHAR, what VARCHAR, moment BIGINT)")
            file.execute(rows)
    return path


KINDS = pytest.mark.parametrize("kind", ["sqlite", "duckdb"])


@KINDS
def test_a_query_gives_rows_in_its_order(tmp_path: Path, kind: str):
    path = shop(tmp_path, kind)
    query = 'SELECT who, what, moment AS "when" FROM log ORDER BY moment DESC'
    rows = read(path, query=query)
    assert triples(rows) == READ[::-1]
    assert rows.table["line"].to_list() == [1, 2, 3]
    pieces = readers.batches(path, Table(file="x", query=query), COLUMNS, rows=2)
    assert [piece.table.height for piece in pieces] == [2, 1]


@KINDS
@pytest.mark.parametrize(
    ("query", "says"),
    [
        (None, "is a database; say query: SELECT .*its tables are log"),
        ("SELECT * FROM logs", "logs.*its tables are log"),
        ("DELETE FROM log", "may only read"),
        ("CREATE TABLE other (x INT)", "may only read"),
        ("SELECT 1; DELETE FROM log", "does not run|may only read"),
        ("ATTACH 'other.db' AS other", "may only read"),
        ("PRAGMA journal_mode = DELETE", "may only read"),
        ("SELECT who FROM log", "no column 'what'"),
        ('SELECT who, what, moment AS "when" FROM log WHERE moment > 99', "not one row"),
    ],
)
def test_a_query_may_read_what_is_there_and_nothing_else(tmp_path: Path, kind: str, query: str | None, says: str):
    path = shop(tmp_path, kind)
    before = path.read_bytes()
    with pytest.raises(DataFault, match=says) as fault:
        read(path, query=query)
    assert str(path) in str(fault.value)
    assert path.read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_a_duckdb_query_reads_no_other_file(tmp_path: Path):
    (tmp_path / "secret.csv").write_text("who,what,when\na,b,1\n")
    with pytest.raises(DataFault, match="does not run"):
        read(shop(tmp_path, "duckdb"), query=f"SELECT * FROM read_csv('{tmp_path}/secret.csv')")


@KINDS
def test_a_database_that_is_none(tmp_path: Path, kind: str):
    if kind == "duckdb":
        pytest.importorskip("duckdb")
    (tmp_path / f"a.{kind}").write_bytes(b"who,what,when\na,b,1\n" * 1000)
    with pytest.raises(DataFault, match=f"is no {kind} file"):
        read(tmp_path / f"a.{kind}", query="SELECT 1")
    with pytest.raises(DataFault, match="there is no such file"):
        read(tmp_path / f"b.{kind}", query="SELECT 1")
