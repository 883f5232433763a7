"""Files that ship with llmrec, found by path or by short name.

    find("recipes", "quickstart")           recipes/quickstart.yaml
    find("prompts", "movies/next-title")    prompts/movies/next-title.jinja
    find("data", "movielens-100k")          data/movielens-100k.yaml
    find("accelerate", "cpu-2")             recipes/accelerate/cpu-2.yaml

In a wheel the folders lie inside the package (`llmrec/_recipes`, `llmrec/_prompts`, `llmrec/_data`); in a checkout,
and in an editable install of one, beside it.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from llmrec.errors import UserError

Kind = Literal["recipes", "prompts", "data", "accelerate"]

SUFFIX: dict[Kind, str] = {"recipes": ".yaml", "prompts": ".jinja", "data": ".yaml", "accelerate": ".yaml"}
ONE: dict[Kind, str] = {
    "recipes": "recipe",
    "prompts": "prompt template",
    "data": "dataset",
    "accelerate": "launch file",
}
PACKAGE = Path(__file__).resolve().parent


def folder(kind: Kind) -> Path:
    """Where the shipped files of a kind lie; the folder may be missing in a broken installation."""
    top = "recipes" if kind == "accelerate" else kind
    inside = PACKAGE / f"_{top}"
    found = inside if inside.is_dir() else PACKAGE.parent / top
    return found / "accelerate" if kind == "accelerate" else found


def shipped(kind: Kind) -> list[str]:
    """The short names of a kind, sorted: paths inside its folder without the ending."""
    root, suffix = folder(kind), SUFFIX[kind]
    names = (path.relative_to(root).as_posix().removesuffix(suffix) for path in root.rglob(f"*{suffix}"))
    return sorted(name for name in names if not (kind == "recipes" and name.startswith("accelerate/")))


def find(kind: Kind, name_or_path: str | Path, *, here: Path | None = None) -> Path:
    """The file of that path, or the shipped file of that short name.

    A path is looked for under `here` (a recipe's folder) first, if given, then from the working directory. Raises
    UserError with the nearest names where there is neither.
    """
    asked = str(name_or_path)
    given = Path(asked).expanduser()
    for path in [here / given, given] if here is not None else [given]:
        if path.is_file():
            return path
    root, suffix = folder(kind), SUFFIX[kind]
    name = short(kind, asked)
    if name in shipped(kind):
        return root / f"{name}{suffix}"
    raise UserError(f"{asked}: {unknown(kind, asked)}")


def beside(here: Path, path: str) -> Path | None:
    """The existing file or folder that a relative path in a recipe in `here` means, or None."""
    if (here / path).exists():
        return here / path
    # In a wheel, recipes/ and data/ lie side by side under other names.
    inside = folder("data") / path.removeprefix("../data/")
    return inside if path.startswith("../data/") and inside.exists() else None


def short(kind: Kind, asked: str) -> str:
    """`recipes/quickstart.yaml` as people type it, to the short name `quickstart`."""
    name = Path(asked).as_posix().removeprefix("./").removesuffix(SUFFIX[kind])
    for prefix in ("recipes/accelerate/", "accelerate/") if kind == "accelerate" else (f"{kind}/",):
        name = name.removeprefix(prefix)
    return name


def unknown(kind: Kind, asked: str) -> str:
    """What to say about a name that is neither a file nor shipped: the nearest names, or all of them."""
    names = shipped(kind)
    if Path(asked).is_dir():
        fault = "is a folder; name a file in it"
    else:
        fault = f"no such file, and no shipped {ONE[kind]} of that name"
    name = short(kind, asked)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    near += [n for n in names if n.rpartition("/")[2] == name.rpartition("/")[2] and n not in near]
    if near:
        return f"{fault}; did you mean {' or '.join(near)}?"
    return f"{fault}; shipped: {', '.join(names) or 'none (a broken installation?)'}"
