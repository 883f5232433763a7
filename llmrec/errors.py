"""Everything that llmrec can say no with.

    LlmrecError                     exit 1: a fault of ours unless a subclass says otherwise
    ├── UserError                   exit 2: something the user can put right; printed without a traceback
    │   ├── RecipeFault             a recipe that cannot be read, all its faults at once
    │   ├── DataFault               interactions, catalogues, manifests, downloads
    │   ├── PromptFault             templates, budgets, labels
    │   ├── ModelFault              models, adapters, tokenizers, states
    │   ├── TrainingFault           a run that went wrong and was stopped: non-finite loss, dead adapters
    │   ├── RankingFault            rankings, queries and candidate tables
    │   └── RunFault                run folders, stages out of order, full disks
    └── Disqualified                exit 3: the audit refuses the comparison

A message names the place, the fault, what was found, and a way out.
"""

from __future__ import annotations


class LlmrecError(Exception):
    """Base of every error that llmrec raises on purpose; `exit_code` is what the command line exits with."""

    exit_code = 1


class UserError(LlmrecError):
    """Something the user can put right: one message, no traceback."""

    exit_code = 2


class RecipeFault(UserError):
    """A recipe that does not hold: one line a fault, `file:line: key: fault, what was found, what to do`."""

    def __init__(self, faults: str | list[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class DataFault(UserError):
    """Interactions, catalogues, manifests or downloads that cannot be used."""


class PromptFault(UserError):
    """A template, token budget or label set that cannot express a query."""


class ModelFault(UserError):
    """A model, adapter, tokenizer or user state that cannot be used."""


class TrainingFault(UserError):
    """A training run that was stopped, with the reason."""


class RankingFault(UserError):
    """A ranking, query or candidate table that cannot be compared."""


class RunFault(UserError):
    """A run folder that cannot be written, or a stage asked for before the ones that it reads."""


class Disqualified(LlmrecError):
    """The audit found the comparison unfair; `findings` say where."""

    exit_code = 3

    def __init__(self, findings: list[str]) -> None:
        self.findings = findings
        super().__init__("\n".join(findings))
