"""The manifests that ship hold, and one that does not says where."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from llmrec import resources
from llmrec.data import readers, sources
from llmrec.data.catalogue import described
from llmrec.data.dropped import Dropped
from llmrec.data.manifest import Table, find_manifest, read_manifest
from llmrec.errors import DataFault

SHIPPED = resources.shipped("data")


def test_the_datasets_that_were_promised_are_there():
    assert {"movielens-100k", "movielens-1m", "movielens-latest-small", "sample"} <= set(SHIPPED)
    assert any(name.startswith("amazon-2023-") for name in SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_manifest_says_whose_the_data_are_and_how_to_know_them(name: str):
    manifest, _ = find_manifest(name)
    assert manifest.name == name
    for words in (manifest.title, manifest.about, manifest.licence, manifest.citation, manifest.ties):
        assert words.strip()
    for source in manifest.sources:
        assert {"user", "item", "time"} <= source.interactions.columns.keys()
        assert source.items is not None
        assert {"item", "title"} <= source.items.columns.keys()


def test_movielens_comes_from_its_owner_first_and_from_a_wheel_next():
    first, second = find_manifest("movielens-100k")[0].sources
    assert first.files[0].url == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    assert first.files[0].md5 == "0e33842e24a9c977be4e0107933c0723"
    assert second.files[0].pip == "recbole==1.2.1"


OWNERS = """9001|The Tin Parade (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0
9002|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0
9003|Caf\xe9s, Les (1995)|01-Jan-1995||http://x|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0
9004|The Long Way Home III (1995) (V)|01-Jan-1995||http://x|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0
"""
WHEELS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
9001\tThe Tin Parade\t1995\tAnimation Children's Comedy
9002\tunkonwn\tunkonwn\tunknown
9003\tCaf\xe9s, Les\t1995\tDrama Musical
9004\tThe Long Way Home III (1995)\tV\tAnimation Children's
"""


def test_both_sources_of_movielens_describe_a_film_alike(tmp_path: Path):
    """Four invented films in the form of each: flags and Latin-1 here, words and UTF-8 there."""
    (tmp_path / "u.item").write_text(OWNERS, encoding="latin-1")
    (tmp_path / "ml-100k.item").write_text(WHEELS, encoding="utf-8")
    films = []
    for source in find_manifest("movielens-100k")[0].sources:
        assert source.items is not None
        path = tmp_path / Path(source.items.file).name
        wanted = {**source.items.columns, **{f: f for flags in source.items.flags.values() for f in flags}}
        rows = readers.read(path, source.items, wanted)
        films.append(described(rows, source.items, file=path.name, dropped=Dropped()).table)
    assert films[0].equals(films[1])
    assert films[0].select("key", "title", "year", "genres").rows() == [
        ("9001", "The Tin Parade", "1995", "Animation, Children's, Comedy"),
        ("9002", "unknown", None, "unknown"),
        ("9003", "Cafés, Les", "1995", "Drama, Musical"),
        ("9004", "The Long Way Home III", "1995", "Animation, Children's"),
    ]


def test_the_sample_is_what_its_program_makes():
    folder = resources.find("data", "sample").parent / "sample"
    made = runpy.run_path(str(folder / "make.py"))
    readings = "".join(",".join(map(str, row)) + "\n" for row in made["readings"]())
    assert (folder / "readings.csv").read_text() == "reader,book,stars,moment\n" + readings
    assert [row["book_id"] for row in made["books"]()] == [
        line.split(",")[0] for line in (folder / "books.csv").read_text().splitlines()[1:]
    ]
    manifest, here = find_manifest("sample")
    stored = sources.get(manifest, here)
    assert (
        readers.read(stored.interactions, stored.source.interactions, {"user": "reader"}).table.height == manifest.rows
    )


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name: [", "cannot be read as YAML"),
        ("- a", "a manifest is a YAML mapping; found list"),
        ("name: Mine\nsources: []\n", "name: .*\n.*mine.yaml: title: Field required"),
    ],
)
def test_a_manifest_that_does_not_hold_says_where(tmp_path: Path, content: str, says: str):
    with pytest.raises(DataFault, match=says):
        read_manifest(written(tmp_path, content))


@pytest.mark.parametrize(
    ("fetch", "says"),
    [
        ("{}", "give one of url, pip or path"),
        ("{url: 'https://x/a.zip', path: a.zip}", "give one of url, pip or path"),
        ("{url: 'http://x/a.zip'}", "an address starts with https://"),
        ("{url: 'file:///etc/passwd', md5: 0e33842e24a9c977be4e0107933c0723}", "an address starts with https://"),
        ("{pip: recbole}", "pip: String should match"),
        ("{pip: '--index-url=http://x recbole==1'}", "pip: String should match"),
        ("{pip: '--index-url==x'}", "pip: String should match"),  # pip would take it for an option
        ("{path: a.csv, sha256: abc}", "sha256: String should match"),
        ("{path: a.csv, sha512: abc}", "sha512: Extra inputs"),
    ],
)
def test_a_place_that_cannot_be_trusted_is_refused(tmp_path: Path, fetch: str, says: str):
    head = "name: mine\ntitle: t\nabout: a\nlicence: l\ncitation: c\n"
    content = f"{head}sources: [{{files: [{fetch}], interactions: {{file: a.csv}}}}]\n"
    with pytest.raises(DataFault, match=says):
        read_manifest(written(tmp_path, content))


def test_a_table_has_a_header_unless_the_manifest_names_its_columns():
    assert sources.has_header(Table(file="x/a.csv"))
    assert not sources.has_header(Table(file="x/a.csv", names=["user"]))
    assert not sources.has_header(Table(file="x/a.dat"))
    assert not sources.has_header(Table(file="x/a.jsonl"))
