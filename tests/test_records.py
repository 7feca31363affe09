"""Records behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass
from functools import cached_property
from typing import Any

import pytest

from tritorch.records import record, replace


@record
class Point:
    """With a default and something computed."""

    x: float
    y: float = 2.0

    @cached_property
    def total(self) -> float:
        """The sum."""
        return self.x + self.y


@dataclass(frozen=True)
class Model:
    """The same as a dataclass."""

    x: float
    y: float = 2.0


@record
class Alone:
    """One field, and a repr of its own."""

    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


@pytest.mark.parametrize("arguments, options", [((1, 3), {}), ((1,), {}), ((), {"y": 5, "x": 4})])
def test_values_come_by_place_by_name_or_by_default(arguments: Any, options: Any) -> None:
    point, model = Point(*arguments, **options), Model(*arguments, **options)
    assert (point.x, point.y) == (model.x, model.y)
    assert repr(point) == repr(model).replace("Model", "Point")
    assert hash(point) == hash(model)
    assert point.total == model.x + model.y


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((1, 2, 3), {}, r"Point\(\) takes 2 values, got 3"),
        ((), {}, r"Point\(\) lacks values for x"),
        ((1,), {"z": 1}, r"Point\(\) has no fields z"),
        ((1,), {"x": 1}, r"Point\(\) got two values for x"),
    ],
)
def test_wrong_values_are_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*arguments, **options)


def test_records_compare_by_class_and_value() -> None:
    first, second = Point(1, 3), Point(1, 3)
    assert first.total == 4  # what is computed is no part of the value
    assert first == second and {first: "found"}[second] == "found"
    assert first != Point(1, 4) and first != (1, 3) and first != Model(1, 3)
    assert Alone("a") == Alone("a") != Alone("b") and len({Alone("a"), Alone("a")}) == 1
    assert repr(Alone("a")) == "<a>"


def test_fields_cannot_be_changed() -> None:
    point: Any = Point(1, 3)
    with pytest.raises(AttributeError, match="Point is a record: its field 'x' cannot be changed"):
        point.x = 2
    with pytest.raises(AttributeError, match="'y'"):
        del point.y
    assert issubclass(FrozenInstanceError, AttributeError)  # so the same handlers work


def test_copies() -> None:
    point = Point(1, 3)
    assert replace(point, y=7) == Point(1, 7) and replace(point) == point
    assert copy.deepcopy(point) == copy.copy(point) == pickle.loads(pickle.dumps(point)) == point
