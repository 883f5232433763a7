"""The whole job, on a cinema whose next film is known: every stage once, then again, then cut short."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from safetensors.torch import load_file
from typer.testing import CliRunner

from llmrec.cli import app
from llmrec.ranking import read_ranking

pytestmark = pytest.mark.xdist_group("smoke")  # one worker: the run is made once

FILES = [
    "recipe.yaml", "manifest.json",
    "prepare/histories.parquet", "prepare/catalogue.parquet", "prepare/queries.parquet", "prepare/users.parquet",
    "prepare/rejected_rows.parquet", "prepare/summary.json",
    "candidates/uniform.parquet",
    "retrieve/queries.parquet", "retrieve/mined.parquet", "retrieve/mined_valid.parquet",
    "retrieve/model/config.json", "retrieve/model/model.safetensors", "retrieve/model/log.jsonl",
    "retrieve/mining/config.json", "retrieve/mining/model.safetensors", "retrieve/mining/log.jsonl",
    "pretrain/config.json", "pretrain/model.safetensors", "pretrain/tokenizer.json", "pretrain/log.jsonl",
    "pairs/train.parquet", "pairs/valid.parquet", "pairs/README.md", "pairs/sample.txt", "pairs/template.jinja",
    "train/orpo/adapter/adapter_config.json", "train/orpo/adapter/adapter_model.safetensors",
    "train/orpo/train_log.jsonl",
    "rankings/popularity/uniform.parquet", "rankings/popularity/catalogue.parquet", "rankings/popularity/valid.parquet",
    "rankings/recent/uniform.parquet", "rankings/transitions/uniform.parquet",
    "rankings/retriever/uniform.parquet", "rankings/retriever/catalogue.parquet",
    "rankings/retriever/two_stage.parquet",
    "rankings/before/uniform.parquet", "rankings/before/catalogue.parquet", "rankings/before/two_stage.parquet",
    "rankings/orpo/uniform.parquet", "rankings/orpo/catalogue.parquet", "rankings/orpo/two_stage.parquet",
    "rankings/orpo/summary.json", "rankings/fused/uniform.parquet", "rankings/fused/two_stage.parquet",
    "evaluate/per_query.parquet", "evaluate/metrics.json", "evaluate/comparisons.json",
    "evaluate/audit.json", "evaluate/cost.json",
    "report/index.html", "report/report.md",
]  # fmt: skip
STAGES = [
    "prepare", "candidates", "retrieve", "pretrain", "pairs", "train/orpo",
    "rankings/popularity", "rankings/recent", "rankings/transitions", "rankings/retriever",
    "rankings/before", "rankings/orpo", "rankings/fused", "evaluate", "report",
]  # fmt: skip


@dataclass
class Done:
    """A run, and what was printed while it was made."""

    folder: Path
    out: str
    err: str

    def json(self, file: str) -> Any:
        return json.loads((self.folder / file).read_text(encoding="utf-8"))

    @property
    def redone(self) -> list[str]:
        """The stages that were not found done."""
        return [stage for stage in STAGES if f"{stage}: done already\n" not in self.err]


def llmrec(runs: Path, *words: str, recipe: str = "smoke", name: str = "smoke") -> Done:
    said = CliRunner().invoke(app, ["run", recipe, "--runs", str(runs), *words])
    assert said.exit_code == 0, said.stderr
    return Done(runs / name, said.stdout, said.stderr)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return llmrec(tmp_path_factory.mktemp("smoke") / "runs")


def test_every_stage_leaves_its_files(smoke: Done) -> None:
    assert [file for file in FILES if not (smoke.folder / file).is_file()] == []
    assert smoke.redone == STAGES


def test_nothing_is_left_over(smoke: Done) -> None:
    hidden = [p for p in smoke.folder.rglob("*") if p.is_file() and any(part.startswith(".") for part in p.parts[-3:])]
    pickled = [p for ending in ("bin", "pt", "pkl", "pth") for p in smoke.folder.rglob(f"*.{ending}")]
    checkpoints = [*smoke.folder.rglob("*checkpoint*")]
    assert hidden + pickled + checkpoints == []


def test_the_state_space_retriever_knows_the_next_film(smoke: Done) -> None:
    for table in ("uniform", "catalogue"):
        rankers = smoke.json("evaluate/metrics.json")["tables"][table]["rankers"]
        assert rankers["retriever"]["ndcg@10"]["low"] > rankers["popularity"]["ndcg@10"]["high"] + 0.3


def test_the_language_model_after_orpo_knows_the_next_film(smoke: Done) -> None:
    for table in ("uniform", "catalogue"):
        rankers = smoke.json("evaluate/metrics.json")["tables"][table]["rankers"]
        assert rankers["orpo"]["ndcg@10"]["low"] > rankers["popularity"]["ndcg@10"]["high"] + 0.3


def test_the_adapter_changes_what_the_model_says(smoke: Done) -> None:
    adapter = load_file(smoke.folder / "train/orpo/adapter/adapter_model.safetensors")
    assert all(tensor.abs().sum() > 0 for tensor in adapter.values())  # B starts at zero
    before, after = (read_ranking(smoke.folder / f"rankings/{arm}/uniform.parquet") for arm in ("before", "orpo"))
    both = before.join(after, on=["query", "item"])
    assert both.height == before.height
    moved = (both["score"] - both["score_right"]).abs() > 1e-4
    assert moved.sum() > 0.9 * both.height


def test_everybody_ranked_the_same_candidates(smoke: Done) -> None:
    offered = pl.read_parquet(smoke.folder / "candidates/uniform.parquet").explode("items").select("query", "items")
    test = pl.read_parquet(smoke.folder / "prepare/queries.parquet").filter(fold="test")
    expected = offered.join(test, on="query", how="semi").sort("query", "items").rename({"items": "item"})
    for file in sorted(smoke.folder.glob("rankings/*/uniform.parquet")):
        listed = read_ranking(file).select("query", "item").sort("query", "item")
        assert_frame_equal(listed, expected, check_dtypes=False)


def test_the_catalogue_is_ranked_without_what_was_seen(smoke: Done) -> None:
    histories = pl.read_parquet(smoke.folder / "prepare/histories.parquet")
    test = pl.read_parquet(smoke.folder / "prepare/queries.parquet").filter(fold="test")
    seen = test.join(histories, on="user").select("query", item=pl.col("items").list.head(pl.col("position")))
    seen = seen.explode("item")
    for ranker in ("popularity", "retriever", "before", "orpo"):
        listed = read_ranking(smoke.folder / f"rankings/{ranker}/catalogue.parquet")
        assert listed.join(seen, on=["query", "item"], how="semi").height == 0


def test_pairs_are_everybodys_two_latest_training_positions(smoke: Done) -> None:
    histories = pl.read_parquet(smoke.folder / "prepare/histories.parquet").sort("user")
    latest = [items[train - 2 : train] for items, train in histories.select("items", "train").iter_rows()]
    pairs = pl.read_parquet(smoke.folder / "pairs/train.parquet").sort("user", "query")
    chosen = pairs.group_by("user", maintain_order=True).agg("chosen_item")["chosen_item"]
    assert [sorted(two) for two in chosen] == [sorted(two) for two in latest]
    assert (pairs["rejected"].list.len() == 2).all()


def test_the_verdict_is_one_and_the_same_wherever_it_stands(smoke: Done) -> None:
    """On the terminal, in the page, in the Markdown and in comparisons.json."""
    verdict = smoke.json("evaluate/comparisons.json")["verdict"]
    plain = " ".join(verdict.split())
    assert "orpo" in plain
    assert "retriever" in plain
    assert plain in " ".join(smoke.out.split())
    markdown = (smoke.folder / "report/report.md").read_text(encoding="utf-8")
    assert plain in " ".join(re.sub(r"\\([][])|\*\*", r"\1", markdown).split())
    page = re.sub(r"<[^>]+>", " ", (smoke.folder / "report/index.html").read_text(encoding="utf-8"))
    assert plain in " ".join(html.unescape(page).split())
    assert smoke.out.rstrip().endswith(f"Report: {smoke.folder / 'report/index.html'}")


def test_the_card_says_what_the_miner_finds_on_both_sides(smoke: Done) -> None:
    """Negatives are mined out of fold: the miner's recall on pairs' queries is near that on validation's."""
    card = (smoke.folder / "pairs/README.md").read_text(encoding="utf-8")
    assert "training queries" in card
    assert "validation" in card


def test_the_audit_of_the_run_finds_what_the_evaluation_found(smoke: Done) -> None:
    said = CliRunner().invoke(app, ["audit", str(smoke.folder), "--json"])
    assert said.exit_code == 0, said.stderr
    levels = sorted(finding["level"] for finding in json.loads(said.stdout)["findings"])
    assert levels == sorted(finding["level"] for finding in smoke.json("evaluate/audit.json")["findings"])


def test_the_page_fetches_nothing(smoke: Done) -> None:
    page = (smoke.folder / "report/index.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", page)


def test_results_go_to_stdout_and_progress_to_stderr(smoke: Done) -> None:
    assert "NDCG@10" in smoke.out
    assert not any(line.startswith(tuple(STAGES)) for line in smoke.out.splitlines() if line.endswith("..."))
    assert all(f"{stage} ...\n" in smoke.err for stage in STAGES)


class TestAgain:
    def test_a_second_run_skips_everything_and_says_so(self, smoke: Done) -> None:
        again = llmrec(smoke.folder.parent)
        assert again.redone == []
        assert again.out == smoke.out

    def test_the_recipe_in_the_run_s_folder_is_the_recipe(self, smoke: Done) -> None:
        assert llmrec(smoke.folder.parent, recipe=str(smoke.folder / "recipe.yaml")).redone == []

    def test_a_run_of_another_name_takes_its_stages_from_this_one(self, smoke: Done) -> None:
        twin = llmrec(smoke.folder.parent, "name=twin", name="twin")
        taken = re.findall(rf"^(\S+): taken from {re.escape(str(smoke.folder))}/\1$", twin.err, re.MULTILINE)
        assert taken == STAGES[:-1]  # the report names its run
        assert twin.json("evaluate/metrics.json") == smoke.json("evaluate/metrics.json")

    def test_other_depths_measure_anew_and_train_nothing(self, smoke: Done) -> None:
        llmrec(smoke.folder.parent, "name=depths", name="depths")
        deeper = llmrec(smoke.folder.parent, "name=depths", "evaluate.at=[2, 10]", name="depths")
        assert deeper.redone == ["evaluate", "report"]
        measured = deeper.json("evaluate/metrics.json")["tables"]["uniform"]["rankers"]["orpo"]
        assert {"hit@2", "hit@10"} <= set(measured)
        assert "hit@5" not in measured


class Started:
    """The smoke recipe in a process of its own, its stderr read as it comes."""

    def __init__(self, runs: Path) -> None:
        command = [sys.executable, "-m", "llmrec", "run", "smoke", "--runs", str(runs)]
        # A group of its own, so that what is killed is this run and nothing else.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=ENVIRONMENT
        )
        self.lines: list[str] = []
        self.out: list[str] = []
        self.came = threading.Condition()
        self.readers = [threading.Thread(target=self._read), threading.Thread(target=self._drain)]
        for reader in self.readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.came:
                self.lines.append(line)
                self.came.notify_all()

    def _drain(self) -> None:
        assert self.process.stdout is not None
        self.out += list(self.process.stdout)

    def wait_for(self, line: str) -> None:
        with self.came:
            assert self.came.wait_for(lambda: f"{line}\n" in self.lines, timeout=120), "".join(self.lines)

    def ended(self) -> int:
        code = self.process.wait(timeout=120)
        for reader in self.readers:
            reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start() -> Iterator[Any]:
    started: list[Started] = []

    def begin(runs: Path) -> Started:
        started.append(Started(runs))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.ended()


def grown(path: Path, least: int, one: Started) -> None:
    """Waits until a log has some lines: the stage is in the middle of its work."""
    for _ in range(1200):
        if path.exists() and path.read_text().count("\n") >= least:
            return
        if one.process.poll() is not None:
            break
        threading.Event().wait(0.05)
    pytest.fail(f"{path} never grew:\n" + "".join(one.lines))


def test_a_run_that_was_stopped_and_then_killed_ends_where_an_unbroken_one_does(
    smoke: Done, tmp_path: Path, start: Any
) -> None:
    runs = tmp_path / "runs"
    folder = runs / "smoke"

    stopped = start(runs)
    stopped.wait_for("pretrain ...")
    grown(folder / ".partial/pretrain/log.jsonl", 2, stopped)
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.ended() == 130
    assert "Traceback" not in "".join(stopped.lines)
    assert stopped.lines[-1] == "Stopped. Finished stages are kept; run the same command again to go on.\n"
    assert "".join(stopped.out) == ""

    killed = start(runs)
    killed.wait_for("train/orpo ...")
    grown(folder / ".partial/train/orpo/train_log.jsonl", 1, killed)
    killed.process.kill()
    assert killed.ended() == -signal.SIGKILL
    said = "".join(killed.lines)
    assert "retrieve: done already\npretrain: going on with what an interrupted run left\n" in said
    logged = [json.loads(line)["epoch"] for line in (folder / "pretrain/log.jsonl").read_text().splitlines()]
    assert logged == list(range(1, 41))

    last = llmrec(runs)
    assert last.redone == STAGES[5:]
    assert "train/orpo: going on with what an interrupted run left\n" in last.err
    for ranker in ("popularity", "retriever", "before", "orpo"):
        for table in ("uniform", "catalogue"):
            broken, whole = (
                read_ranking(run.folder / f"rankings/{ranker}/{table}.parquet").sort("query", "item")
                for run in (last, smoke)
            )
            assert_frame_equal(broken, whole, abs_tol=1e-3, check_exact=False)
