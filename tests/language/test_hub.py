"""Hub ids without a hub: what is in the cache of this machine is found, all else is refused with the reason."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
import torch
from huggingface_hub import errors

from llmrec.errors import ModelFault
from llmrec.language.hub import explained, fetched, listed
from llmrec.language.load import load_model, load_tokenizer
from llmrec.language.tokenizer import build_tokenizer
from llmrec.recipe.sections import Model
from tests.language.families import small

FIRST, SECOND = "a" * 40, "b" * 40
CODE = "from transformers import LlamaConfig\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
MODEL = (
    "from transformers import LlamaForCausalLM\nfrom .configuration_own import OwnConfig\n"
    "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
)


def snapshot(home: Path, name: str, commit: str = FIRST, ref: str = "main", seed: int = 0) -> Path:
    """One commit of a model as the hub's client keeps it; the folder of its files."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    folder = repository / "snapshots" / commit
    small("llama", seed).save_pretrained(folder)
    build_tokenizer([" The Heist (1950)"], 290).save_pretrained(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HF_HOME, with nothing in it."""
    home = tmp_path / "huggingface"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home / "modules"))
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("LLMREC_HOME", str(home))
    monkeypatch.setattr(sys, "path", [*sys.path])  # code that comes with a model is put on it
    return home


def head(name: str, here: Path, revision: str | None = None) -> torch.Tensor:
    weight: torch.Tensor = load_model(Model(name=name, revision=revision), here=here).get_output_embeddings().weight
    return weight


def test_a_cached_model_needs_no_network(home: Path, tmp_path: Path) -> None:
    folder = snapshot(home, "org/tiny")
    assert torch.equal(head("org/tiny", tmp_path), small("llama").get_output_embeddings().weight)
    assert load_tokenizer(Model(name="org/tiny"), here=tmp_path).eos_token == "\n"
    assert fetched("org/tiny") == folder


def test_a_revision_is_a_branch_a_tag_or_a_commit(home: Path, tmp_path: Path) -> None:
    snapshot(home, "org/tiny", FIRST, "main", seed=0)
    snapshot(home, "org/tiny", SECOND, "v2", seed=1)
    first, second = (small("llama", seed).get_output_embeddings().weight for seed in (0, 1))
    assert torch.equal(head("org/tiny", tmp_path), first)
    assert torch.equal(head("org/tiny", tmp_path, "v2"), second)
    assert torch.equal(head("org/tiny", tmp_path, SECOND), second)
    with pytest.raises(ModelFault, match=r"org/tiny at v3: not cached here.*models get org/tiny --revision v3`"):
        head("org/tiny", tmp_path, "v3")


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_a_model_that_is_not_cached_says_how_to_get_it(home: Path, tmp_path: Path, load: Callable[..., object]) -> None:
    with pytest.raises(ModelFault) as refused:
        load(Model(name="org/other"), here=tmp_path)
    assert str(refused.value) == (
        "model.name: org/other: not cached here, and the hub cannot be reached (HF_HUB_OFFLINE is set). Fetch it where "
        "there is a network (`llmrec models get org/other`), or give a local folder. Nor is there a folder of that "
        "name here."
    )


def test_a_mistyped_folder_is_no_hub_id(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match=r"runs/old/model: not a hub id.* Nor is there a folder of that name here"):
        load_model(Model(name="runs/old/model"), here=tmp_path)


def test_pickled_weights_are_refused_unread(home: Path, tmp_path: Path) -> None:
    folder = snapshot(home, "org/pickled")
    (folder / "model.safetensors").unlink()
    torch.save(small("llama").state_dict(), folder / "pytorch_model.bin")
    for load in (lambda: head("org/pickled", tmp_path), lambda: fetched("org/pickled")):
        with pytest.raises(ModelFault, match=r"org/pickled: no safetensors weights, and pickles are not loaded"):
            load()


def test_code_that_comes_with_a_model_runs_only_when_trusted(home: Path, tmp_path: Path) -> None:
    folder = snapshot(home, "org/own")
    ran = tmp_path / "ran"
    (folder / "configuration_own.py").write_text(f"open({str(ran)!r}, 'w').close()\n{CODE}")
    (folder / "modeling_own.py").write_text(MODEL)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
    with pytest.raises(ModelFault, match=r"org/own needs Python code .* not run.* model.trust_remote_code: true"):
        head("org/own", tmp_path)
    assert not ran.exists()
    trusted = load_model(Model(name="org/own", trust_remote_code=True), here=tmp_path)
    assert ran.exists()
    assert type(trusted).__name__ == "OwnForCausalLM"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (errors.GatedRepoError, "gated. Accept its terms"),
        (errors.RepositoryNotFoundError, "no such model on the hub, or a private one"),
        (errors.RevisionNotFoundError, "no revision 'v3'"),
        (errors.HfHubHTTPError, r"hub cannot be reached \(HF_HUB_OFFLINE"),
    ],
)
def test_the_hub_s_refusals_are_told_apart(fault: type[errors.HfHubHTTPError], said: str) -> None:
    # transformers wraps each in an OSError of its own.
    answer = httpx.Response(403, request=httpx.Request("GET", "https://hub/org/tiny"))
    try:
        try:
            raise fault("no", response=answer)
        except errors.HfHubHTTPError as cause:
            raise OSError("cannot load") from cause
    except OSError as wrapped:
        words = explained("org/tiny", "v3", wrapped)
    assert words is not None
    assert re.search(said, words)


def test_what_the_hub_had_no_part_in_is_not_explained_by_it() -> None:
    assert explained("org/tiny", None, OSError("No space left on device")) is None


def test_cached_models_are_listed_after_those_to_start_from(home: Path) -> None:
    assert all(one["here"] == "" for one in listed())
    snapshot(home, "org/tiny")
    snapshot(home, "Qwen/Qwen3-0.6B")
    found = {one["name"]: one for one in listed()}
    assert list(found)[-1] == "org/tiny"
    assert found["org/tiny"]["about"] == ""
    assert found["Qwen/Qwen3-0.6B"]["about"] == "0.6 B, attention"
    for name in ("org/tiny", "Qwen/Qwen3-0.6B"):
        assert found[name]["here"].endswith("K")


def test_the_command_looks_where_hf_home_says(home: Path) -> None:
    folder = snapshot(home, "org/tiny")

    def llmrec(*words: str) -> str:
        command = [sys.executable, "-m", "llmrec", "models", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout

    assert [one["here"] for one in json.loads(llmrec("ls", "--json")) if one["name"] == "org/tiny"] != [""]
    assert "org/tiny" in llmrec("ls")
    assert llmrec("get", "org/tiny").strip() == str(folder)
