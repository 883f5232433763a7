"""`llmrec`, launched, with a diary of what this process did: $DIARY/<rank>.json.

Started by tests/language/test_launch.py through `accelerate launch`; everything but the diary is the real thing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save

WATCHED = os.environ.get("WATCHED", "")  # the folder that only the leading process may write to
wrote: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Notes what Python opens for writing, makes, moves or removes."""
    if event == "open":
        mode, flags = args[1], args[2]
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or any(c in (mode or "") for c in "wax+")
    else:
        writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree")
    if writes and isinstance(args[0], str | Path) and str(args[0]).startswith(WATCHED):
        wrote.append(f"{event} {args[0]}")


def main() -> None:
    sys.addaudithook(watch)
    from llmrec.cli import main as llmrec
    from llmrec.language import trainer, tuning

    seen: list[dict[str, Any]] = []
    adapters: list[str] = []
    step, refuse = trainer.RecipeTrainer.training_step, tuning.guards.refuse_broken

    def training_step(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        rows = list(zip(inputs["pairs"].prompts, inputs["pairs"].answers, strict=True))
        arm = Path(self.args.output_dir).parent.name
        seen.append({"arm": arm, "step": self.state.global_step, "rows": rows})
        return step(self, model, inputs, *rest)

    def refuse_broken(weights: Any) -> None:
        adapters.append(save({name: tensor.contiguous() for name, tensor in sorted(weights.items())}).hex())
        refuse(weights)

    trainer.RecipeTrainer.training_step, tuning.guards.refuse_broken = training_step, refuse_broken  # type: ignore[method-assign]
    try:
        llmrec()
    finally:
        diary = {"wrote": wrote.copy(), "seen": seen, "adapters": adapters}
        (Path(os.environ["DIARY"]) / f"{os.environ['RANK']}.json").write_text(json.dumps(diary))


if __name__ == "__main__":
    main()
