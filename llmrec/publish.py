"""A run's adapter to the hub, with a card that says how it was made and how it fares.

What is published is first laid out in `<run>/publish/`, where it can be read, and listed; only then, and only without
`dry_run`, does anything leave the machine. Pairs hold the histories of single users: they go only where asked for.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from llmrec.errors import Disqualified, RunFault, UserError
from llmrec.files import write_text
from llmrec.pairs.provenance import provenance
from llmrec.report.card import base_of, eval_results, model_card
from llmrec.report.evidence import Evidence, read_evidence

# An adapter folder may also hold optimizer states and pickled arguments of a trainer; these never leave.
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "llmrec.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
CHECKPOINT = ("config.json", "generation_config.json", "*.safetensors", "model.safetensors.index.json", *TOKENIZER)


@dataclass(frozen=True)
class Parcel:
    """One repository to be: its name, kind, and the folder that becomes it."""

    repository: str
    kind: str
    """`model` or `dataset`."""
    folder: Path

    @property
    def files(self) -> list[tuple[str, int]]:
        """(path in the repository, bytes) of every file."""
        found = sorted(p for p in self.folder.rglob("*") if p.is_file())
        return [(p.relative_to(self.folder).as_posix(), p.stat().st_size) for p in found]


def publish(
    run: Path,
    to: str,
    dry_run: bool = False,
    *,
    arm: str | None = None,
    pairs: bool | Literal["only"] = False,
    private: bool = True,
) -> list[Parcel]:
    """Lays out, lists on stdout and, unless `dry_run`, pushes one arm's adapter to the hub repository `to` (ORG/NAME).

    `arm` is a folder under train/; left out, the last tuned arm. `pairs` publishes the preference pairs as well, as the
    dataset ORG/NAME-pairs; mind the licence of the data. `pairs="only"` publishes nothing else, as the dataset `to`, of
    a run that need not have trained or ranked anything. New repositories are private unless `private` is false. Raises
    RunFault for a run without an adapter, Disqualified where the audit refused the comparison, UserError for a name or
    login that the hub does not take.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]{1,90}", to):
        raise UserError(f"publish: {to} is not a hub repository; write --to ORG/NAME.")
    if pairs == "only":
        return _send([_pairs(run, to)], dry_run, private)
    evidence = read_evidence(run)
    refused = [str(f.get("what")) for f in evidence.findings if f.get("level") == "disqualifies"]
    if refused:
        raise Disqualified([f"publish: the audit refuses this comparison: {what}" for what in refused])
    arm = arm or evidence.spokesman(p.parent.name for p in run.glob("train/*/adapter"))
    if arm is None or not (run / "train" / arm / "adapter" / "adapter_config.json").is_file():
        raise RunFault(f"{run}: no adapter under train/{arm or ''}. Run `llmrec train` first, or name another arm.")
    dataset = f"{to}-pairs" if pairs else None
    parcels = [_model(evidence, arm, to, dataset)]
    if dataset:
        parcels.append(_pairs(run, dataset))
    return _send(parcels, dry_run, private)


def _send(parcels: list[Parcel], dry_run: bool, private: bool) -> list[Parcel]:
    """Lists what there is, and pushes it unless it is a dry run."""
    for parcel in parcels:
        print(f"{parcel.kind} {parcel.repository}, from {parcel.folder}:")
        for name, size in parcel.files:
            print(f"  {size:>12,}  {name}")
    if dry_run:
        print("Nothing was pushed (--dry-run).")
    else:
        for parcel in parcels:
            print(f"Pushed: {_push(parcel, private=private)}")
    return parcels


def _model(evidence: Evidence, arm: str, to: str, dataset: str | None) -> Parcel:
    """The adapter with its tokenizer, the base if the recipe built it, the recipe, and the card."""
    folder = _fresh(evidence.run / "publish" / "model")
    adapter = evidence.run / "train" / arm / "adapter"
    _copy(adapter, folder, (*ADAPTER, *TOKENIZER))
    base = base_of(evidence, arm)
    if base is None:
        _copy(_built(evidence, adapter), folder / "base", CHECKPOINT)
    # As saved it names a folder of this machine, which is nobody's business and helps nobody.
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base or to
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    recipe = yaml.safe_dump(_without_folders(evidence.recipe), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "README.md").write_text(model_card(evidence, arm, to, dataset=dataset), encoding="utf-8")
    if dataset:
        held = folder / ".eval_results"
        held.mkdir()
        entries = eval_results(evidence, arm, dataset)
        (held / "llmrec.yaml").write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    return Parcel(to, "model", folder)


def _pairs(run: Path, dataset: str) -> Parcel:
    """The pairs as they are, with recipe, templates, and the card written beside them, where they come from added.

    Pairs of several rounds go as one subset a round, each with the card of its own, and a card of all.
    """
    cards = sorted((run / "pairs").rglob("README.md"))
    if not cards:
        raise RunFault(f"{run}: pairs/README.md is not there. Run `llmrec pairs` first.")
    folder = _fresh(run / "publish" / "pairs")
    for card in cards:
        place = card.parent.relative_to(run / "pairs")
        _copy(card.parent, folder / place, ("*.parquet", "*.jinja", "chats.json", "README.md"))
    top = folder / "README.md"
    text = top.read_text(encoding="utf-8").rstrip() if top.is_file() else _rounds(folder)
    write_text(f"{text}\n\n{provenance(run)}", top)
    recipe = run / "recipe.yaml"
    if recipe.is_file():
        content = _without_folders(yaml.safe_load(recipe.read_text(encoding="utf-8")))
        write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), folder / "recipe.yaml")
    return Parcel(dataset, "dataset", folder)


def _rounds(folder: Path) -> str:
    """The card of all rounds: the first one's front matter, with a subset for each, and where their own cards are."""
    cards = sorted(folder.rglob("README.md"), key=lambda path: [(len(part), part) for part in path.parts])
    front = next(yaml.safe_load_all(cards[0].read_text(encoding="utf-8").partition("\n---\n")[0]))
    places = [card.parent.relative_to(folder).as_posix() for card in cards]
    front["configs"] = [
        {
            "config_name": place.replace("/", "-"),
            "data_files": [{"split": fold, "path": f"{place}/{fold}.parquet"} for fold in ("train", "valid")],
        }
        for place in places
    ]
    lines = [f"* [{place}]({place}/README.md)" for place in places]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    title = f"# {front['pretty_name']}, in rounds"
    return "\n".join([f"---\n{head}---", "", title, "", "A round a subset, with a card of its own:", "", *lines])


def _built(evidence: Evidence, adapter: Path) -> Path:
    """The checkpoint that the adapter was trained on: as its configuration says, or the run's only one."""
    said = Path(str(json.loads((adapter / "adapter_config.json").read_text()).get("base_model_name_or_path") or ""))
    candidates = [evidence.run / said.name, *sorted(evidence.run.glob("pretrain*"))]
    found = next((folder for folder in candidates if said.name and (folder / "config.json").is_file()), None)
    if found is None:
        raise RunFault(f"{evidence.run}: no pre-trained checkpoint under pretrain/. Run `llmrec pretrain` first.")
    return found


def _without_folders(content: Any) -> Any:
    """The same, with absolute paths cut to their last name: where somebody keeps their files is not published."""
    if isinstance(content, dict):
        return {key: _without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_folders(value) for value in content]
    return Path(content).name if isinstance(content, str) and Path(content).is_absolute() else content


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _copy(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """The files of one folder that match, none below it."""
    target.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, target / path.name)


def _push(parcel: Parcel, *, private: bool) -> str:
    """Creates the repository unless it is there, uploads the folder, returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    try:
        url = api.create_repo(parcel.repository, repo_type=parcel.kind, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=parcel.repository,
            repo_type=parcel.kind,
            folder_path=parcel.folder,
            commit_message="Publish with llmrec",
        )
    except LocalTokenNotFoundError:
        raise UserError(
            "publish: the hub does not know you here. Log in with `hf auth login`, or set HF_TOKEN."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError("publish: HF_HUB_OFFLINE is set, so the hub is not asked. Unset it to publish.") from None
    except (HfHubHTTPError, OSError) as fault:
        said = str(fault).strip().splitlines()
        raise UserError(
            f"publish: the hub did not take {parcel.repository}: {said[0] if said else type(fault).__name__}. "
            f"Everything is ready in {parcel.folder}."
        ) from None
    return str(url)
