"""What every section is: closed, frozen, and strict about numbers."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Mapping = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]


class Settings(BaseModel):
    """A closed, frozen section: unknown keys are faults, and the docstring under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1, and YAML reads yes, no, on and off as True and False: `layers: yes` is a fault."""
        hints = _leaves(cls.model_fields[str(info.field_name)].annotation)
        numbers = any(isinstance(hint, type) and issubclass(hint, int | float) for hint in hints)
        if numbers and bool not in hints:
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            switch = next((one for one in held if isinstance(one, bool)), None)
            if switch is not None:
                raise PydanticCustomError("switch", "expected a number", {"switch": switch})
        return value


def _leaves(hint: Any) -> list[Any]:
    """The types that a hint is made of: `list[int] | None` gives int and None's type."""
    inner = get_args(hint)
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [hint]
