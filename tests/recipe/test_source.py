"""Files that are no recipe at all are refused in one sentence, with a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmrec.errors import RecipeFault
from llmrec.recipe.source import read


def refused(folder: Path, content: bytes) -> str:
    """What `read` says about a file with these bytes."""
    path = folder / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeFault) as caught:
        read(path, "r.yaml")
    return str(caught.value)


def values(folder: Path, content: str) -> dict[str, object]:
    """What stands in a file, as plain values."""
    path = folder / "r.yaml"
    path.write_text(content, encoding="utf-8")
    return read(path).value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "r.yaml:1: the file is empty"),
        (b"# nothing yet\n", "r.yaml:1: the file is empty"),
        (b"\n- name: x\n", "r.yaml:2: a recipe is a mapping of sections .*found a list"),
        (b"just words", 'r.yaml:1: a recipe is a mapping.*found the text "just words"'),
        (b"name: x\ndata:\n\tpath: f\n", r"r.yaml:3: this is not YAML: .*Indent with spaces, not tabs"),
        (b"name: x\ndata: {path: f\nseed: 3\n", r"r.yaml:3: this is not YAML"),
        (
            b"name: x\ndata: {path: f}\ntext: {title} ({year})\n",
            r'r.yaml:3: .*needs quotes, as in "{title} \({year}\)"',
        ),
        (b"name: what: now\n", r"r.yaml:1: .*a value that holds `: ` needs quotes"),
        (b"name: x\nseed: *seed\n", r"r.yaml:2: .*A value that starts with \* needs quotes"),
        (b"name: x\n---\nname: y\n", r"r.yaml:2: .*one recipe a file"),
        (b'name: "x\n', r"Close the quote"),
        ("name: café\n".encode("latin-1"), "r.yaml:1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a: b\n# Übung\nname: café\n".encode("latin-1"), "r.yaml:2: byte 0xdc is not UTF-8"),
        ("name: x\n".encode("utf-16"), "r.yaml:1: the file is UTF-16"),
        (b"name: x\nseed: \x07\n", "r.yaml:2: character #x0007 may not stand in YAML"),
    ],
)
def test_what_is_not_yaml_is_told_why(tmp_path: Path, content: bytes, message: str) -> None:
    assert re.search(message, refused(tmp_path, content)), refused(tmp_path, content)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeFault, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_key_that_stands_twice_is_a_fault_and_the_later_one_is_read_on(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\nname: x\nseed: 2\n", encoding="utf-8")
    source = read(tmp_path / "r.yaml")
    assert source.faults == [(("seed",), "stands twice, here and in line 1; keep one")]
    assert source.value["seed"] == 2


def test_a_leading_zero_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 010\n", encoding="utf-8")
    assert "octal" in read(tmp_path / "r.yaml").faults[0][1]


def test_words_stay_words(tmp_path: Path) -> None:
    assert values(tmp_path, "no: 1\non: 2\n3: 4\nday: 2024-01-01\nclock: 12:30:45\n") == {
        "no": 1, "on": 2, "3": 4, "day": "2024-01-01", "clock": "12:30:45",
    }  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read(tmp_path / "r.yaml").value == {"name": "x"}


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n"
    assert values(tmp_path, text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_a_value_that_holds_itself_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: &a\n  b: *a\n", encoding="utf-8")
    assert read(tmp_path / "r.yaml").faults[0][1].startswith("refers to itself")


def test_code_in_a_tag_is_not_run(tmp_path: Path) -> None:
    text = "a: !!python/object/apply:os.getcwd []\nb: !!python/name:os.getcwd x\n"
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    source = read(tmp_path / "r.yaml")
    assert source.value == {"a": [], "b": None}
    assert [key for key, _ in source.faults] == [("a",), ("b",)]
