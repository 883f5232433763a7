"""Which verb lives where, and how an error leaves: with one message and the exit code that its kind has.

0    done
1    a bug of ours: traceback, and a line that says so
2    something the user can put right: one message on stderr (--traceback shows more)
3    the audit disqualifies the comparison
130  Ctrl-C
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from llmrec.errors import LlmrecError
from llmrec.progress import plain

# verb: (module, panel, what it does). The module has `register(app)`, or is a group of its own and has `app`.
VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("llmrec.cli.stages", "The main job", "Go through every stage of a recipe, skipping what is done."),
    "prepare": ("llmrec.cli.stages", "One stage", "Interactions to histories, catalogue and queries."),
    "retrieve": ("llmrec.cli.stages", "One stage", "Fit the state-space retriever and mine with it."),
    "pretrain": ("llmrec.cli.stages", "One stage", "Pre-train the recipe's own small language model."),
    "pairs": ("llmrec.cli.stages", "One stage", "Write preference pairs: prompt, chosen, rejected."),
    "train": ("llmrec.cli.stages", "One stage", "Fine-tune the language model with LoRA on the pairs."),
    "rank": ("llmrec.cli.stages", "One stage", "Let every ranker order the same candidates."),
    "evaluate": ("llmrec.cli.stages", "One stage", "Compare the rankers, with intervals."),
    "report": ("llmrec.cli.stages", "One stage", "Write the HTML and Markdown report."),
    "recipes": ("llmrec.cli.recipes", "What there is", "List, show, copy and check recipes."),
    "datasets": ("llmrec.cli.datasets", "What there is", "List, show, fetch and profile datasets."),
    "models": ("llmrec.cli.models", "What there is", "List language models, and fetch one."),
    "prompt": ("llmrec.cli.prompt", "Using it", "Show what the model will read for one user."),
    "recommend": ("llmrec.cli.recommend", "Using it", "Recommend items for a user, or after a history."),
    "export": ("llmrec.cli.export", "Using it", "Write pairs in the forms that other trainers read."),
    "publish": ("llmrec.cli.publish", "Using it", "Push a run's adapter, with its card, to the hub."),
    "compare": ("llmrec.cli.compare", "Judging", "Compare anybody's rankings on the same queries."),
    "audit": ("llmrec.cli.audit", "Judging", "Look for leaks and unfair comparisons."),
    "doctor": ("llmrec.cli.doctor", "Judging", "Say what this machine and installation can do."),
}

FULL = (errno.ENOSPC, errno.EDQUOT)
SHORT = ("No space left on device", "(os error 28)", "unexpected pos", "basic_ios::clear")
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Later(TyperCommand):
    """A verb that is known by name and imported when it is called, so that `llmrec --help` imports none."""

    def __init__(self, name: str, module: str, panel: str, purpose: str) -> None:
        super().__init__(name, help=purpose, rich_help_panel=panel)
        self.module = module

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.real().make_context(info_name, args, parent=parent, **extra)

    def real(self) -> Any:
        """The command itself."""
        module = importlib.import_module(self.module)
        if hasattr(module, "app"):
            return typer.main.get_command(module.app)
        shelf = typer.Typer(add_completion=False)
        module.register(shelf)
        return typer.main.get_group(shelf).commands[str(self.name)]


class Verbs(TyperGroup):
    """The verbs, and the one place where errors become exit codes."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {verb: Later(verb, *entry) for verb, entry in VERBS.items()}
        self.traces, self.runs = False, "runs"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self.traces = "--traceback" in args  # wherever it stands: people add it to the end of the line that failed
        runs = args[args.index("--runs") + 1 :][:1] if "--runs" in args else []
        self.runs = runs[0] if runs else os.environ.get("LLMREC_RUNS") or "runs"
        return super().parse_args(ctx, [arg for arg in args if arg != "--traceback"])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\nStopped. Finished stages are kept; run the same command again to go on.", file=sys.stderr)
            raise typer.Exit(130) from None
        except LlmrecError as fault:
            if self.traces or fault.exit_code == 1:
                traceback.print_exc()
            print(plain(str(fault), keep="\n\t"), file=sys.stderr)
            raise typer.Exit(fault.exit_code) from None
        except Exception as fault:
            words, code = out_of_room(fault, self.runs), 2
            if words is None:
                if is_dialogue(fault):
                    raise
                traceback.print_exc()
                code = 1
                words = "This is a bug of ours, not yours. Please report it with the lines above and the recipe."
            elif self.traces:
                traceback.print_exc()
            print(words, file=sys.stderr)
            raise typer.Exit(code) from None


def is_dialogue(fault: BaseException) -> bool:
    """Whether typer itself knows what to do: wrong usage, an exit, a reader that closed the pipe."""
    talks = type(fault).__module__.startswith(("typer", "click"))
    return talks or (isinstance(fault, OSError) and fault.errno == errno.EPIPE)


def out_of_room(fault: BaseException, runs: str = "runs") -> str | None:
    """One message for a full disk or a forbidden folder, however deep it was met; None for other faults.

    `runs` is named where the fault names no place.
    """
    seen: set[int] = set()
    link: BaseException | None = fault
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        number, place = None, ""
        if isinstance(link, OSError):
            number, place = link.errno, str(link.filename2 or link.filename or "")
        # Rust libraries (polars, safetensors) carry the system's words, not its error number; torch's writer has words
        # of its own, and only for a write that came up short.
        if number in FULL or any(words in str(link) for words in SHORT):
            return f"{place or runs}: the disk is full. Free some space; finished stages are kept."
        if number in FORBIDDEN or "(os error 13)" in str(link):
            return f"{place or link}: may not be read or written. Change its permissions, or choose another folder."
        link = link.__cause__ or link.__context__
    return None
