"""What would leave the machine, and what never does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from llmrec.errors import Disqualified, RunFault, UserError
from llmrec.publish import publish
from tests.report.runs import finished_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with an adapter, a base that the recipe built, pairs, and things that are nobody's business."""
    run = finished_run(tmp_path)
    adapter, base = run / "train" / "orpo" / "adapter", run / "pretrain"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 4}))
    for path in (adapter / "adapter_model.safetensors", base / "model.safetensors"):
        path.write_bytes(b"weights")
    for path in (adapter / "training_args.bin", adapter / "optimizer.pt", base / "optimizer.pt"):
        path.write_bytes(b"a pickle")
    (base / "config.json").write_text("{}")
    (run / "pairs").mkdir()
    (run / "pairs" / "README.md").write_text("# Pairs\n")
    (run / "pairs" / "train.parquet").write_bytes(b"pairs")
    return run


def names(parcel) -> list[str]:
    return [name for name, _ in parcel.files]


def test_a_dry_run_lists_every_file_first(run: Path, capsys: pytest.CaptureFixture[str]):
    (model,) = publish(run, "me/films", dry_run=True)
    said = capsys.readouterr().out
    wanted = [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "base/config.json",
        "base/model.safetensors",
    ]
    assert names(model) == [*wanted, "recipe.yaml"]
    assert all(name in said for name in names(model))
    assert "Nothing was pushed" in said


def test_pairs_go_alone_with_where_they_come_from(run: Path, capsys: pytest.CaptureFixture[str]):
    for path in sorted((run / "evaluate").iterdir()):
        path.unlink()  # nothing was trained or judged
    hashes = {"histories.parquet": "abc123", "catalogue.parquet": "def456"}
    (run / "prepare" / "stage.json").write_text(json.dumps({"outputs": hashes}))
    (run / "prepare" / "summary.json").write_text(json.dumps({"dropped": {"no item | at all": 1234}}))
    (data,) = publish(run, "me/pairs", dry_run=True, pairs="only")
    assert (data.kind, data.repository) == ("dataset", "me/pairs")
    card = (data.folder / "README.md").read_text()
    assert card.startswith("# Pairs\n")
    verbs = ("prepare", "retrieve", "pretrain", "pairs")  # the tokenizer of a model that is built is pre-training's
    assert " && ".join(f"llmrec {verb} recipe.yaml" for verb in verbs) in card
    assert "| sha256 of prepare/histories.parquet | abc123 |" in card
    assert "| no item \\| at all | 1,234 |" in card
    assert "The run was not evaluated" in card
    assert "cinema.csv" in (data.folder / "recipe.yaml").read_text()
    assert "Nothing was pushed" in capsys.readouterr().out
    (run / "pairs" / "README.md").unlink()
    with pytest.raises(RunFault, match="pairs/README.md is not there"):
        publish(run, "me/pairs", dry_run=True, pairs="only")


def test_pairs_go_only_where_asked_for(run: Path):
    assert [p.kind for p in publish(run, "me/films", dry_run=True)] == ["model"]
    model, data = publish(run, "me/films", dry_run=True, pairs=True)
    assert (data.repository, names(data)) == ("me/films-pairs", ["README.md", "recipe.yaml", "train.parquet"])
    (entry, *_) = yaml.safe_load((model.folder / ".eval_results" / "llmrec.yaml").read_text())
    assert entry["dataset"] == {"id": "me/films-pairs", "task_id": "catalogue-ndcg@10"}


def test_folders_of_this_machine_stay_here(run: Path):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["data"]["path"] = str(run.parent / "cinema.csv")
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (model,) = publish(run, "me/films", dry_run=True)
    for name in ("README.md", "adapter_config.json", "recipe.yaml"):
        assert str(run.parent) not in (model.folder / name).read_text()
    assert json.loads((model.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "me/films"


def test_the_card_has_the_results_in_its_front_matter(run: Path):
    (model,) = publish(run, "me/films", dry_run=True)
    front = yaml.safe_load((model.folder / "README.md").read_text().split("---\n")[1])
    catalogue, _ = front["model-index"][0]["results"]
    assert catalogue["dataset"]["name"] == "cinema, catalogue"
    measured = json.loads((run / "evaluate" / "metrics.json").read_text())["tables"]["catalogue"]["rankers"]["orpo"]
    assert {m["type"]: m["value"] for m in catalogue["metrics"]}["ndcg@10"] == round(measured["ndcg@10"]["mean"], 4)


def test_a_hub_model_is_named_as_the_base_and_not_copied(run: Path):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["model"] = {"name": "org/base-model"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (model,) = publish(run, "me/films", dry_run=True)
    assert not any(name.startswith("base/") for name in names(model))
    assert yaml.safe_load((model.folder / "README.md").read_text().split("---\n")[1])["base_model"] == "org/base-model"


@pytest.mark.parametrize("to", ["films", "me/films/x", "https://example.org/me/films", "me/"])
def test_what_is_no_repository_is_refused(run: Path, to: str):
    with pytest.raises(UserError, match="--to ORG/NAME"):
        publish(run, to, dry_run=True)


def test_an_unfair_comparison_is_not_published(run: Path):
    finding = {"level": "disqualifies", "what": "the slot tells the target", "where": "uniform"}
    (run / "evaluate" / "audit.json").write_text(json.dumps({"findings": [finding]}))
    with pytest.raises(Disqualified, match="the slot tells the target"):
        publish(run, "me/films", dry_run=True)


def test_a_run_without_an_adapter_has_nothing_to_publish(run: Path):
    with pytest.raises(RunFault, match="no adapter under train/before"):
        publish(run, "me/films", dry_run=True, arm="before")


def test_offline_is_said_in_one_line(run: Path):
    """The tests run with HF_HUB_OFFLINE=1, so this pushes nothing either."""
    with pytest.raises(UserError, match="publish: ") as said:
        publish(run, "me/films")
    assert "\n" not in str(said.value)
