"""The recipe, section by section: one field, one type, one sentence.

The sentence under a field becomes its entry in the JSON schema (`llmrec recipes schema`) and in the error message.
`train` and `lora` carry the fields of trl's ORPOConfig and peft's LoraConfig under their own names (see `borrowed`).
"""

from __future__ import annotations

from llmrec.recipe.sections.data import Behaviours, Candidates, Data, Format, Items, Reading, Split
from llmrec.recipe.sections.evaluate import Evaluate
from llmrec.recipe.sections.model import BETA, Build, Model, Objective
from llmrec.recipe.sections.pairs import Answer, Pairs, Prompt
from llmrec.recipe.sections.recipe import SHARES_FOLDERS, Arm, Recipe, check_train, is_taken, shares_folders
from llmrec.recipe.sections.retriever import RATED, Adaptive, Retriever
from llmrec.recipe.sections.settings import Settings

__all__ = [
    "BETA",
    "RATED",
    "SHARES_FOLDERS",
    "Adaptive",
    "Answer",
    "Arm",
    "Behaviours",
    "Build",
    "Candidates",
    "Data",
    "Evaluate",
    "Format",
    "Items",
    "Model",
    "Objective",
    "Pairs",
    "Prompt",
    "Reading",
    "Recipe",
    "Retriever",
    "Settings",
    "Split",
    "check_train",
    "is_taken",
    "shares_folders",
]
