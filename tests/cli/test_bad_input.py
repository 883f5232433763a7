"""Bad input, through the front door: exit 2 with one message, no traceback, and nothing that was finished is lost.

What each room refuses is tested there; here is what reaches the terminal, and what is left on the disk. Runs that are
stopped or killed are in tests/recipes/test_smoke.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner, Result

from llmrec.cli import app
from llmrec.language.tokenizer import build_tokenizer
from tests.worlds import cinema, films, item_texts

RECIPE = """\
name: r
data: {path: films.csv, min_user: 3, text: "{title} ({year})"}
split: {method: last}
retriever: {layers: 1, d_model: 8, d_state: 4, headdim: 8, epochs: 1}
candidates: {count: 10}
prompt: {template: movies/next-title, budget: 300}
answer: {style: title}
pairs: {rejected: 1, per_user: 1, from: {uniform: 1}}
model: {name: lm}
train: {max_steps: 1, per_device_train_batch_size: 2, warmup_steps: 0}
evaluate: {at: [1, 5], primary: ndcg@5, rankers: [popularity, language]}
"""
CSV = cinema().write_csv()
HEAD, *ROWS = CSV.splitlines(keepends=True)


@dataclass
class Desk:
    """A folder with a recipe and its data, and what the command says about them."""

    folder: Path

    def llmrec(self, verb: str, *overrides: str) -> Result:
        return CliRunner().invoke(app, [verb, str(self.folder / "r.yaml"), "--runs", str(self.run.parent), *overrides])

    def done(self, *verbs: str) -> None:
        for verb in verbs:
            result = self.llmrec(verb)
            assert result.exit_code == 0, result.stderr

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "r"

    def kept(self) -> dict[str, bytes]:
        """Every file of every finished stage."""
        names = (p.relative_to(self.run) for p in self.run.rglob("*") if p.is_file())
        finished = [name for name in names if len(name.parts) > 1 and name.parts[0] != ".partial"]
        return {str(name): (self.run / name).read_bytes() for name in finished}

    def refuses(self, verb: str, *overrides: str) -> str:
        """The one message with which a command exits 2, after its notes; what was finished is still there."""
        before = self.kept()
        result = self.llmrec(verb, *overrides)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        *notes, message = result.stderr.splitlines()
        assert all(re.fullmatch(r"\S+( \.\.\.|: (going on|done already|\d+\.\d s, ).*)", note) for note in notes), notes
        assert self.kept() == before
        return message


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "r.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "films.csv").write_text(CSV, encoding="utf-8")
    return Desk(tmp_path)


BAD: dict[str, tuple[str | bytes, str]] = {
    "a column is missing": (CSV.replace("item,", "film,", 1), r"films\.csv: no column 'item' .*found user, film"),
    "no column has the titles": (CSV.replace("title", "name", 1), r"asks for \{title\}.*Map the column"),
    "no time can be read": (re.sub(r",88\d+,", ",soon,", CSV), r"none of 360 times can be read; the first is 'soon'"),
    "no id is one": (HEAD + "".join("nan" + row[3:] for row in ROWS), r"no interaction is left of 360: 360 no user"),
    "one user only": (HEAD + "".join(r for r in ROWS if r.startswith("p07")), r"only one user is left, 'p07'"),
    "the core is empty": (HEAD + "".join(ROWS[:40]), r"nothing is left of 40 interactions by 40 users"),
    "the file is empty": ("", r"films\.csv: is empty"),
    "there is only a header": (HEAD, r"films\.csv: not one row can be read"),
    "it is UTF-16": (CSV.encode("utf-16"), r"films\.csv: is UTF-16; save it as UTF-8"),
    "it is no text": (bytes(range(256)) * 9, r"films\.csv: no column 'user'"),
    "it is a spreadsheet": (b"PK\x03\x04\x14\x00\x06\x00" + bytes(200), r"films\.csv: no column 'user'"),
    "it is Parquet": (b"PAR1" + bytes(200), r"films\.csv: is Parquet inside"),
}


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD.keys())
def test_interactions_that_cannot_be_used(desk: Desk, content: str | bytes, says: str) -> None:
    desk.done("prepare")
    (desk.folder / "films.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    message = desk.refuses("prepare")
    assert re.search(says, message), message
    assert message.isprintable()

    (desk.folder / "films.csv").write_text(CSV, encoding="utf-8")
    assert desk.llmrec("prepare").stderr == "prepare: done already\n"


@pytest.mark.parametrize("mix", [False, True])
def test_a_template_that_asks_for_what_the_data_lack_is_refused_before_anything_is_fitted(
    desk: Desk, mix: bool
) -> None:
    desk.done("prepare")
    message = desk.refuses("retrieve", "prompt.mix=[movies/rated]" if mix else "prompt.template=movies/rated")
    assert message.endswith(
        "movies/rated.jinja: asks for item.rating, and the data have no ratings. Map a column to rating "
        "(data.columns), or take another prompt.template."
    )


def test_interactions_that_are_not_there(desk: Desk) -> None:
    (desk.folder / "films.csv").unlink()
    assert desk.refuses("prepare").endswith("films.csv: there is no such file.")
    (desk.folder / "films.csv").mkdir()
    assert desk.refuses("prepare").endswith("films.csv: is a folder; give a file.")


def test_where_nothing_is_left_the_file_that_says_why_is_named(desk: Desk) -> None:
    message = desk.refuses("prepare", "data.min_user=50")
    [path] = re.findall(r"Each row that was left out is in (\S+), with the reason", message)
    dropped = pl.read_parquet(path)
    assert dropped.height == 360
    assert dropped["reason"].unique().to_list() == ["a user with fewer than 50 interactions"]


def test_rows_that_cannot_be_used_are_counted_and_written_down_and_the_rest_goes_on(desk: Desk) -> None:
    rows = [
        ROWS[0],  # again
        "nan,heist-01,880000000,The First Heist,1950\n",
        "p01,,880000000,?,?\n",
        "p02,heist-12,soon,The Twelfth Heist,1961\n",
        "p03,heist-12,880900000,L\xe9on,1994\n",
    ]
    content = CSV.replace("The First Western", "").encode() + "".join(rows).encode("latin-1")
    (desk.folder / "films.csv").write_bytes(content)
    result = desk.llmrec("prepare")
    assert result.exit_code == 0, result.stderr
    for reason in ("no user", "no item", "time cannot be read", "not UTF-8", "the same item again (duplicates: first)"):
        assert f"1 {reason}" in result.stderr
    assert "each is in prepare/rejected_rows.parquet" in result.stderr
    assert "1 items have no text of their own and read as their id" in result.stderr
    dropped = pl.read_parquet(desk.run / "prepare" / "rejected_rows.parquet")
    assert dropped["line"].to_list() == [362, 363, 364, 365, 366]
    assert pl.read_parquet(desk.run / "prepare" / "users.parquet").height == 40


def test_more_candidates_than_there_are_films(desk: Desk) -> None:
    desk.done("prepare")
    message = desk.refuses("rank", "candidates.count=60")
    assert re.search(r"candidates\.count needs 59 beside the target\. Lower candidates\.count", message)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk where everything up to the pairs is done, and the model is a small one in a folder."""
    folder = tmp_path_factory.mktemp("stocked")
    (folder / "r.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "films.csv").write_text(CSV, encoding="utf-8")
    tokenizer = build_tokenizer([f" {text}" for text in item_texts().values()], 400)
    ends: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    size: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size, **ends)).save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    Desk(folder).done("prepare", "retrieve", "pairs")
    return folder


@pytest.fixture
def ready(stocked: Path, tmp_path: Path) -> Desk:
    return Desk(Path(shutil.copytree(stocked, tmp_path / "desk")))


def test_a_prompt_that_cannot_fit_its_budget_even_without_history(ready: Desk) -> None:
    message = ready.refuses("pairs", "prompt.budget=8")
    assert re.search(r"takes \d+ tokens with no history at all, and prompt\.budget is 8: shorten the template", message)


def test_more_candidates_than_letters_are_told_before_anything_is_trained(ready: Desk) -> None:
    letters = ["prompt.template=movies/pick-letter", "answer.style=letter", "answer.eos=false"]
    assert re.search(r"10 candidates and \d labels: .*List fewer", ready.refuses("pairs", *letters))


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoilt", "how", "says"),
    [
        ("model.safetensors", Path.unlink, r"lm holds no weights \(\*\.safetensors\); found config\.json"),
        ("model.safetensors", spoil, r"the model of \S+/lm could not be loaded: .*header"),
        ("config.json", Path.unlink, r"lm holds no config\.json; give the folder that save_pretrained wrote"),
        ("config.json", spoil, r"lm could not be loaded: .*config\.json"),
    ],
)
def test_a_model_folder_that_holds_no_model(ready: Desk, spoilt: str, how: Callable[[Path], None], says: str) -> None:
    how(ready.folder / "lm" / spoilt)
    message = ready.refuses("train")
    assert re.search(says, message), message


def test_a_model_that_is_not_on_this_machine_and_no_network(ready: Desk) -> None:
    message = ready.refuses("train", "model.name=nobody/nothing")
    assert re.search(r"nobody/nothing: .*the hub cannot be reached .*or give a local folder", message)


def test_lora_targets_that_the_model_does_not_have(ready: Desk) -> None:
    assert re.search(r"^lora: .*nope.* not found", ready.refuses("train", "lora.target_modules=[nope]"))


def test_a_loss_that_blows_up_stops_with_the_reason(ready: Desk) -> None:
    wild = ["train.learning_rate=1e30", "train.max_grad_norm=0.0", "train.max_steps=4"]
    message = ready.refuses("train", *wild)
    assert re.search(r"^train: the loss is (nan|inf) at step \d\. Lower train\.learning_rate", message)
    assert not (ready.run / "train").exists()


def test_a_stage_asked_for_too_early_names_the_one_before(desk: Desk) -> None:
    assert "Run `llmrec prepare RECIPE` first" in desk.refuses("pairs")
    assert "run `llmrec prepare` first" in CliRunner().invoke(
        app, ["prompt", str(desk.folder / "r.yaml"), "--runs", str(desk.run.parent), "--user", "p00"]
    ).stderr  # fmt: skip


def test_a_table_that_was_damaged_says_what_to_delete_and_then_goes_on(ready: Desk) -> None:
    spoil(ready.run / "prepare" / "histories.parquet")
    message = ready.refuses("rank")
    assert re.search(r"prepare/histories\.parquet: damaged .*Delete it and run again", message)
    (ready.run / "prepare" / "histories.parquet").unlink()
    assert "prepare ...\n" in ready.llmrec("prepare").stderr
    assert (ready.run / "prepare" / "histories.parquet").is_file()


def test_a_run_folder_that_cannot_be_made(desk: Desk) -> None:
    (desk.folder / "runs").write_text("a file stands where the folder should be", encoding="utf-8")
    message = desk.refuses("prepare")
    assert message.endswith("runs/r: the run's folder cannot be written (Not a directory). Choose another with --runs.")


# A disk of a few pages, in a name space of its own: full, then larger, then read-only.
SMALL_DISK = """
mount -t tmpfs -o size=20k none "$RUNS" || exit 77
"$PYTHON" -m llmrec prepare "$RECIPE" --runs "$RUNS" >"$SAID/full" 2>&1; echo $?
mount -o remount,size=10m "$RUNS"
"$PYTHON" -m llmrec prepare "$RECIPE" --runs "$RUNS" >"$SAID/roomy" 2>&1; echo $?
mount -o remount,ro "$RUNS"
"$PYTHON" -m llmrec rank "$RECIPE" --runs "$RUNS" >"$SAID/locked" 2>&1; echo $?
"""


def test_a_disk_that_is_full_and_one_that_cannot_be_written(desk: Desk) -> None:
    said, runs = desk.folder / "said", desk.folder / "runs"
    said.mkdir()
    runs.mkdir()
    environment = {
        "PYTHON": sys.executable, "RUNS": str(runs), "SAID": str(said), "RECIPE": str(desk.folder / "r.yaml"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }  # fmt: skip
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) here")
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("a disk cannot be mounted here")
    full, roomy, locked = ((said / name).read_text() for name in ("full", "roomy", "locked"))
    assert done.stdout.split() == ["2", "0", "2"], done.stderr + full + roomy + locked
    assert "Traceback" not in full + roomy + locked
    assert re.search(
        r"partial/prepare: the disk is full .*Free some space, .*run the same command again\.$", full.strip()
    )
    assert re.search(r"cannot be written \(Read-only file system\)\. Choose another with --runs\.$", locked.strip())


def test_items_whose_text_says_strange_things(desk: Desk) -> None:
    """Quotes, commas, line breaks, braces and template code in a title are a title."""
    odd = ['"Heat, ""the"" film"', '"two\nlines"', "{title}", "{{ 7 * 7 }}", "<script>alert(1)</script>"]
    rename = dict(zip(films()["title"].to_list()[:5], odd, strict=True))
    content = CSV
    for title, text in rename.items():
        content = content.replace(title, text)
    (desk.folder / "films.csv").write_text(content, encoding="utf-8")
    desk.done("prepare")
    texts = set(pl.read_parquet(desk.run / "prepare" / "catalogue.parquet")["text"])
    expected = {'Heat, "the" film', "two lines", "{title}", "{{ 7 * 7 }}", "<script>alert(1)</script>"}
    assert expected <= {text.rsplit(" (", 1)[0] for text in texts}
