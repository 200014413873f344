"""Column definitions, and those that every table shares."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Column(Struct, frozen=True):
    """One metav1.TableColumnDefinition. Priority 0 is always shown, 1 with `-o wide`."""

    name: str
    description: str = ""
    type: str = "string"
    format: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


NAME = Column("Name", "Name of the object, unique in its namespace.", format="name")
AGE = Column("Age", "Time since the object was created.")
CREATED = Column("Created At", "When the object was created.", type="date")


def wide(name: str, description: str) -> Column:
    return Column(name, description, priority=1)
