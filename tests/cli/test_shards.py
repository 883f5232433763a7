"""`llmrec pairs RECIPE --shard i/n`: several processes share the parts, and one puts them together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from llmrec.cli import app
from llmrec.language.tokenizer import build_tokenizer
from llmrec.pairs import parts
from llmrec.report.samples import write_samples
from tests.cli.test_bad_input import CSV, RECIPE, Desk
from tests.worlds import item_texts

ROUNDS = "rounds=[{from: {uniform: 1}}, {from: {popular: 1}}]"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(parts, "PART", 16)
    (tmp_path / "r.yaml").write_text(RECIPE.replace("per_user: 1", "per_user: 2"), encoding="utf-8")
    (tmp_path / "films.csv").write_text(CSV, encoding="utf-8")
    tokenizer = build_tokenizer([f" {text}" for text in item_texts().values()], 512)
    tokenizer.save_pretrained(tmp_path / "lm")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "lm")
    return Desk(tmp_path)


def written(folder: Path) -> dict[str, bytes]:
    """What a finished stage holds, its record aside, which has times in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".json"
    }


def said(desk: Desk, *words: str) -> list[dict[str, str]]:
    """What a shard prints: a JSON object for each stage of pairs."""
    result = desk.llmrec("pairs", *words)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("order", [("1/2", "2/2"), ("2/2", "1/2"), ("2/2",), ("1/1",)])
def test_shards_and_then_pairs_are_pairs_in_one_go(desk: Desk, order: tuple[str, ...]) -> None:
    desk.done("prepare", "retrieve", "pairs")
    folder = desk.run / "pairs"
    whole = written(folder)
    shutil.rmtree(folder)
    made: dict[str, int] = {}
    for shard in order:
        [told] = said(desk, "--shard", shard)
        assert told["shard"] == shard
        assert not folder.exists()
        made = {path.name: path.stat().st_mtime_ns for path in Path(told["folder"], "train").glob("*.parquet")}
    assert len(made) == (2 if order == ("2/2",) else 5)
    desk.done("pairs")
    assert written(folder) == whole
    assert not (folder / "parts").exists()


def test_each_round_is_shared(desk: Desk) -> None:
    desk.done("prepare", "retrieve")
    assert desk.llmrec("pairs", ROUNDS).exit_code == 0
    whole = written(desk.run / "pairs")
    assert {"round-1/train.parquet", "round-2/train.parquet"} < whole.keys()
    shutil.rmtree(desk.run / "pairs")
    for shard in ("2/2", "1/2"):
        assert len(said(desk, ROUNDS, "--shard", shard)) == 2
    assert desk.llmrec("pairs", ROUNDS).exit_code == 0
    assert written(desk.run / "pairs") == whole

    published = CliRunner().invoke(app, ["publish", str(desk.run), "--to", "me/pairs", "--pairs-only", "--dry-run"])
    assert published.exit_code == 0, published.stderr
    assert "round-2/train.parquet" in published.stdout
    folder = desk.run / "publish" / "pairs"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "llmrec prepare recipe.yaml && llmrec retrieve recipe.yaml && llmrec pairs recipe.yaml" in card
    assert "| fingerprint of pairs/round-2 |" in card
    configs = yaml.safe_load(card.split("---\n")[1])["configs"]
    assert [one["config_name"] for one in configs] == ["round-1", "round-2"]
    assert all((folder / one["path"]).is_file() for config in configs for one in config["data_files"])

    page = write_samples(desk.run, desk.run / "report", name="r")
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "round-1: " in text
    assert "round-2: with one from popular" in text


def test_what_is_finished_is_said_to_be_and_left(desk: Desk) -> None:
    desk.done("prepare", "retrieve", "pairs")
    before = desk.kept()
    result = desk.llmrec("pairs", "--shard", "1/2")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "pairs: done already\n")
    assert desk.kept() == before
    assert not (desk.run / ".partial" / "pairs").exists()


def test_any_launcher_may_start_the_shards(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.done("prepare", "retrieve")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "1")
    [told] = said(desk, "--shard", "2/2")
    assert len([*Path(told["folder"], "train").glob("*.parquet")]) == 2


@pytest.mark.parametrize("shard", ["3/2", "0/2", "two"])
def test_a_shard_that_is_none_is_refused(desk: Desk, shard: str) -> None:
    assert desk.refuses("pairs", "--shard", shard) == f"--shard {shard}: write i/n, from 1/n to n/n: --shard 1/4."


def test_a_shard_without_its_inputs_names_the_command(desk: Desk) -> None:
    assert "Run `llmrec prepare RECIPE` first" in desk.refuses("pairs", "--shard", "1/2")
    desk.done("prepare")
    assert "Run `llmrec retrieve RECIPE` first" in desk.refuses("pairs", "--shard", "1/2")


def test_a_recipe_that_makes_no_pairs_says_so(desk: Desk) -> None:
    desk.done("prepare", "retrieve")
    result = desk.llmrec("pairs", "--shard", "1/2", "arms={before: {objective: null}}")
    assert (result.exit_code, result.stderr) == (0, "pairs: this recipe has nothing to do here.\n")
