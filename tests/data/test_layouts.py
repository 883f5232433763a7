"""Every shipped manifest reads the layout that its publisher uses: here with a few invented rows in each."""

# ruff: noqa: E501  # lines as their publishers write them

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from llmrec import resources
from llmrec.data import readers, sources
from llmrec.data.catalogue import described
from llmrec.data.dropped import Dropped
from llmrec.data.manifest import Fetch, Manifest, find_manifest
from llmrec.errors import DataFault

ELSEWHERE = {"movielens-100k", "movielens-1m", "movielens-latest-small", "sample"}  # have tests of their own
CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n7,11,4.5,1000000001\n8,12,0.5,1000000002\n",
    "movies.csv": 'movieId,title,genres\n11,"Tin Parade, The (1995)",Comedy|Animation\n12,Untold,(no genres listed)\n',
}
OF_2018 = {
    "meta_Video_Games.json.gz": '{"asin": "B1", "title": "Lantern", "brand": "Oak"}\n{"asin": "B2", "title": "Kite"}\n'
}
TINY: dict[str, dict[str, str]] = {
    "movielens-10m": {
        "ml-10M100K/ratings.dat": "7::11::4.5::1000000001\n8::12::0.5::1000000002\n",
        "ml-10M100K/movies.dat": "11::Tin Parade, The (1995)::Comedy|Animation\n12::Untold::(no genres listed)\n",
    },
    **{f"movielens-{n}": {f"ml-{n}/{file}": text for file, text in CSV.items()} for n in ("20m", "25m", "32m")},
    "amazon-2018?category=Video_Games": OF_2018
    | {
        "Video_Games_5.json.gz": '{"overall": 5.0, "verified": true, "reviewerID": "A1", "asin": "B1", '
        '"reviewText": "Good.", "unixReviewTime": 1252800000}\n'
        '{"overall": 2.0, "reviewerID": "A2", "asin": "B2", "style": {"Color:": " Red"}, "unixReviewTime": 1252800000}\n'
    },
    "amazon-2018-ratings?category=Video_Games": OF_2018
    | {"Video_Games.csv": "B1,A1,5.0,1252800000\nB2,A2,2.0,1252800000\n"},
    "amazon-2023?category=Video_Games": {
        "Video_Games.jsonl.gz": '{"rating": 5.0, "title": "ok", "asin": "B9", "parent_asin": "B1", "user_id": "A1", '
        '"timestamp": 1588687728923}\n{"rating": 1.0, "parent_asin": "B2", "user_id": "A2", "timestamp": 1588687728924}\n',
        "meta_Video_Games.jsonl.gz": '{"title": "Lantern", "store": "Oak", "parent_asin": "B1", "price": null}\n'
        '{"title": "Kite", "store": null, "parent_asin": "B2"}\n',
    },
    "amazon-2023-all-beauty": {
        "All_Beauty.jsonl.gz": '{"rating": 5.0, "parent_asin": "B1", "user_id": "A1", "timestamp": 1588687728923}\n'
        '{"rating": 1.0, "parent_asin": "B2", "user_id": "A2", "timestamp": 1588687728924}\n',
        "meta_All_Beauty.jsonl.gz": '{"title": "Soap", "store": "Oak", "parent_asin": "B1"}\n'
        '{"title": "Comb", "store": null, "parent_asin": "B2"}\n',
    },
    "steam": {
        "steam_reviews.json.gz": "{u'hours': 0.1, u'user_id': u'765', u'product_id': u'3', u'date': u'2017-12-17', "
        "u'early_access': False, u'text': u'It\\u2019s \"good\"', u'username': u'ann'}\n"
        "{u'product_id': u'4', u'date': u'2018-01-02', u'username': u'bob'}\n",
        "steam_games.json.gz": "{u'id': u'3', u'title': u\"Ann's Tower\", u'genres': [u'Action'], u'price': 4.99, "
        "u'developer': u'Oak', u'release_date': u'2018-01-04'}\n{u'id': u'4', u'title': u'Moat', u'early_access': True}\n",
    },
    "lastfm-1k": {
        "lastfm-dataset-1K/userid-timestamp-artid-artname-traid-traname.tsv": 'user_000001\t2009-05-04T23:08:57Z\tf1b\tThe "Oaks\t\tOne\n'
        "user_000002\t2009-05-04T13:54:10Z\t\tKite\t\tTwo\n"
    },
    "lastfm-2k": {
        "user_taggedartists-timestamps.dat": "userID\tartistID\ttagID\ttimestamp\n2\t52\t13\t1238536800000\n3\t53\t1\t1238536800000\n",
        "artists.dat": "id\tname\turl\tpictureURL\n52\tThe Oaks\thttp://x\thttp://y\n53\tKité\thttp://x\t\n",
    },
    "goodreads?genre=poetry": {
        "goodreads_interactions_poetry.json.gz": '{"user_id": "a", "book_id": "1", "is_read": true, "rating": 5, '
        '"date_added": "Tue Oct 17 13:57:13 -0700 2017", "read_at": ""}\n'
        '{"user_id": "b", "book_id": "2", "rating": 0, "date_added": "Wed Feb 08 03:02:12 -0800 2012"}\n',
        "goodreads_books_poetry.json.gz": '{"book_id": "1", "title": "Tin", "publication_year": "2001", '
        '"publisher": "Oak", "similar_books": []}\n{"book_id": "2", "title": "Kites", "publication_year": ""}\n',
    },
    "yelp": {
        "yelp_academic_dataset_review.json": '{"review_id": "r", "user_id": "a", "business_id": "1", "stars": 3.0, '
        '"text": "So so", "date": "2018-07-07 22:09:11"}\n'
        '{"user_id": "b", "business_id": "2", "stars": 5.0, "date": "2012-01-03 15:28:18"}\n',
        "yelp_academic_dataset_business.json": '{"business_id": "1", "name": "Oak Bar", "city": "Leeds", '
        '"categories": "Bars, Food"}\n{"business_id": "2", "name": "Kites", "city": "York", "categories": null}\n',
    },
}
TIMES = {
    "goodreads?genre=poetry": [1508273833, 1328698932],  # minutes and zone counted in
    "lastfm-2k": [1238536800000, 1238536800000],
}


def test_every_shipped_manifest_is_tried_here_or_elsewhere():
    assert {name.split("?")[0] for name in TINY} | ELSEWHERE == set(resources.shipped("data"))


def packed(folder: Path, name: str, files: dict[str, str]) -> Path:
    """The files in an archive of that name, or the file itself."""
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in files.items():
                archive.writestr(member, text)
    elif name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            for member, text in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    else:
        text = files[name]
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", TINY)
def test_a_manifest_reads_its_publishers_layout(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What would be fetched lies here instead, under the same name; the tables are then read as they always are."""
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    manifest = find_manifest(name)[0]
    for at, source in enumerate(manifest.sources):
        folder = tmp_path / str(at)
        folder.mkdir()
        here = [packed(folder, (f.url or f.path or "").rsplit("/", 1)[-1], TINY[name]) for f in source.files]
        lying = source.model_copy(update={"files": [Fetch(path=str(path)) for path in here]})
        stored = sources.get(manifest.model_copy(update={"sources": [lying]}), tmp_path)
        rows = readers.read(stored.interactions, source.interactions, source.interactions.columns)
        assert rows.bad.height == 0
        assert rows.table.height == 2
        assert rows.table.select("user", "item", "time").null_count().row(0) == (0, 0, 0)
        if name in TIMES:
            assert rows.table["time"].cast(int).to_list() == TIMES[name]
        if source.items is not None and stored.items is not None:
            found = readers.read(stored.items, source.items, source.items.columns)
            items = described(found, source.items, file="items", dropped=Dropped()).table
            assert set(items["key"]) == set(rows.table["item"])
            assert items["title"].null_count() == 0
        if name.startswith("movielens"):
            assert items.select("title", "year", "genres").rows() == [
                ("Tin Parade, The", "1995", "Animation, Comedy"),
                ("Untold", None, None),
            ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("amazon-2023?category=Video_Game", "category is none of .*Did you mean Video_Games?"),
        ("amazon-2023?genre=Books", "has no parameter genre; it has category"),
        ("amazon-2023?Books", "write it as amazon-2023.name=value"),
        ("movielens-1m?category=Books", "has no parameter category; it has none"),
    ],
)
def test_a_part_that_there_is_not_says_which_there_are(name: str, says: str):
    with pytest.raises(DataFault, match=says):
        find_manifest(name)


def test_a_part_has_its_own_name_and_addresses():
    manifest = find_manifest("amazon-2023?category=Video_Games")[0]
    assert (manifest.name, manifest.title) == ("amazon-2023-video_games", "Amazon Reviews 2023, Video_Games")
    assert str(manifest.sources[0].files[0].url).endswith("/Video_Games.jsonl.gz")
    assert "{" not in manifest.model_dump_json(include={"name", "title"}).replace('{"', "")


def test_without_a_part_nothing_is_fetched(tmp_path: Path):
    manifest, here = find_manifest("amazon-2023")
    with pytest.raises(DataFault, match="Say which category: amazon-2023.category=All_Beauty"):
        sources.get(manifest, here, cache=tmp_path)


def test_what_a_person_must_fetch_says_where_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    manifest, here = find_manifest("yelp")
    with pytest.raises(DataFault, match=f"{tmp_path}/by-hand/yelp/yelp_.*_review.json: .*Accept the terms") as fault:
        sources.get(manifest, here)
    folder = tmp_path / "by-hand" / "yelp"
    assert str(folder) in str(fault.value)
    folder.mkdir(parents=True)
    for file, text in TINY["yelp"].items():
        (folder / file).write_text(text)
    assert sources.get(manifest, here).interactions.parent == folder


def test_no_manifest_fetches_over_plain_http_without_a_checksum():
    for name in resources.shipped("data"):
        manifest: Manifest = find_manifest(name)[0]
        for fetch in (fetch for source in manifest.sources for fetch in source.files):
            assert fetch.path or fetch.pip or str(fetch.url).startswith("https://") or fetch.md5 or fetch.sha256
