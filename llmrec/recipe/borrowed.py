"""Fields of trl's ORPOConfig and peft's LoraConfig, without importing either (a placeholder until the table is generated)."""

from __future__ import annotations

from typing import Any


def check_train(section: dict[str, Any]) -> dict[str, Any]:
    return section


def check_lora(section: dict[str, Any]) -> dict[str, Any]:
    return section
