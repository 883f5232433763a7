"""The recipe as JSON schema, for editors: completion, hover texts and red underlines while typing.

    python -m llmrec.recipe.schema        writes recipes/recipe.schema.json, which a test holds fresh

A recipe that begins with `# yaml-language-server: $schema=recipe.schema.json` is checked by the YAML extensions of most
editors. The loader finds more than a schema can say.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from llmrec import resources
from llmrec.recipe import borrowed
from llmrec.recipe.sections import Recipe

FILE = "recipe.schema.json"


def json_schema() -> dict[str, Any]:
    """The schema of a whole recipe, the fields of `train` and `lora` included."""
    schema = Recipe.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    sections: tuple[borrowed.Section, ...] = ("lora", "train")
    for section in sections:
        definitions[section.capitalize()] = {
            "type": "object",
            "title": section.capitalize(),
            "description": schema["properties"][section]["description"],
            "properties": deepcopy(borrowed.fields(section)),
            "additionalProperties": False,
        }
        if section == "train":  # the same block as the retriever's
            definitions["Train"]["properties"]["adaptive"]["anyOf"][0] = {"$ref": "#/$defs/Adaptive"}
        schema["properties"][section] = {"$ref": f"#/$defs/{section.capitalize()}"}
    # An arm says only what differs, so nothing in its sections is required.
    arm = definitions["Arm"]["properties"]
    arm["lora"], arm["train"] = ({"$ref": f"#/$defs/{name}"} for name in ("Lora", "Train"))
    arm["model"] = {key: value for key, value in definitions["Model"].items() if key != "required"}
    arm["objective"] = {"anyOf": [{"$ref": "#/$defs/Objective"}, {"type": "null"}]}
    _tidy(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def text() -> str:
    """The schema as it stands in `recipes/recipe.schema.json`."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _tidy(part: Any) -> None:
    """Takes out the titles that repeat keys; they crowd an editor's hover texts."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for key, inner in part.items():
            if key != "default":
                _tidy(inner)
    elif isinstance(part, list):
        for inner in part:
            _tidy(inner)


if __name__ == "__main__":
    path = resources.folder("recipes") / FILE
    path.write_text(text(), encoding="utf-8")
    print(path)
