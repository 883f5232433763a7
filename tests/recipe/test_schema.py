"""The JSON schema that editors read: fresh, and of one mind with the loader."""

from __future__ import annotations

import json
from typing import Any

import yaml

from llmrec import resources
from llmrec.recipe.schema import FILE, json_schema, text
from llmrec.recipe.sections import Recipe


def test_the_shipped_file_is_fresh() -> None:
    shipped = (resources.folder("recipes") / FILE).read_text(encoding="utf-8")
    assert shipped == text(), "run python -m llmrec.recipe.schema"


def test_it_has_every_section_and_the_borrowed_fields() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Recipe.model_fields)
    train = schema["$defs"]["Train"]["properties"]
    assert train["learning_rate"]["type"] == "number"
    assert "output_dir" not in train
    assert "init_from" in schema["$defs"]["Lora"]["properties"]
    assert "from" in schema["$defs"]["Pairs"]["properties"]


def test_every_field_says_what_it_means() -> None:
    schema = json_schema()
    for name, section in schema["$defs"].items():
        for field, about in section["properties"].items() if name not in ("Train", "Lora") else ():
            described = "description" in about or "$ref" in about or "anyOf" in about
            assert described, f"{name}.{field} has no sentence"


def test_no_key_of_a_shipped_recipe_is_unknown_to_it() -> None:
    schema = json_schema()
    for name in resources.shipped("recipes"):
        values = yaml.safe_load(resources.find("recipes", name).read_text(encoding="utf-8"))
        assert list(unknown(values, schema, schema["$defs"])) == [], name


def unknown(values: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Keys of the values that a closed object of the schema does not name."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for one in schema.get("anyOf", []):
        if "$ref" in one:
            schema = definitions[one["$ref"].rpartition("/")[2]]
    if not isinstance(values, dict):
        return []
    fields, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
    found = [key for key in values if key not in fields and rest is False]
    for key, value in values.items():
        inner = fields.get(key, rest if isinstance(rest, dict) else {})
        found += [f"{key}.{name}" for name in unknown(value, inner, definitions)]
    return found


def test_it_is_json() -> None:
    assert json.loads(text())["$schema"].startswith("https://json-schema.org/")
