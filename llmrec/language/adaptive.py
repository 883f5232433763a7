"""Tuning with a batch and a step size that set themselves: `train.adaptive` of a recipe, hooked into the trainer.

The batch grows by accumulation, which `pace` doubles where that is exact. What it should be is asked of each update's
gradient (`groups`), taken after its backward passes and before it is clipped, so that clipping hides nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from llmrec.adaptive.batch import BatchController
from llmrec.adaptive.schedule import BySamples
from llmrec.adaptive.steps import averages, growth, make_step
from llmrec.errors import TrainingFault
from llmrec.files import write_json
from llmrec.language.examples import Batch, collate
from llmrec.language.groups import Groups
from llmrec.language.pace import Pace
from llmrec.language.trainer import RecipeTrainer
from llmrec.progress import note
from llmrec.recipe.sections import Adaptive

STATE = "adaptive.json"
EVERY = 8  # updates of which one is measured where that takes a second pass
LARGEST = 16  # times the first batch, where the recipe has no bound
RATED = ("adamw", "schedule_free")  # steps whose scale is a learning rate
