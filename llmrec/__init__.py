"""Interaction logs into preference datasets, LLM recommenders out of them, and an honest comparison with an SSM."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.data.larder import Larder
    from llmrec.data.prepare import prepare
    from llmrec.errors import LlmrecError
    from llmrec.ranking import places, ranked, read_ranking
    from llmrec.recipe.loader import load_recipe
    from llmrec.recipe.sections import Recipe
    from llmrec.report.report import write_report

__version__ = "0.1.0"

__all__ = [
    "Larder",
    "LlmrecError",
    "Recipe",
    "__version__",
    "load_recipe",
    "places",
    "prepare",
    "ranked",
    "read_ranking",
    "write_report",
]

# Names are looked up when they are asked for: `import llmrec`, and with it `llmrec --help`, imports no room.
_ROOMS = {
    "Larder": "llmrec.data.larder",
    "LlmrecError": "llmrec.errors",
    "Recipe": "llmrec.recipe.sections",
    "load_recipe": "llmrec.recipe.loader",
    "places": "llmrec.ranking",
    "prepare": "llmrec.data.prepare",
    "ranked": "llmrec.ranking",
    "read_ranking": "llmrec.ranking",
    "write_report": "llmrec.report.report",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'llmrec' has no attribute {name!r}")
