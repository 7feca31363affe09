"""`@record`: frozen classes of named fields that cost an import nothing.

`dataclasses` writes and compiles the source of half a dozen methods for every class, 0.7 ms each;
the classes of an `import tritorch` take a fifth of its time that way. Here all records share the
same methods.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class", bound=type)


@dataclass_transform(frozen_default=True)
def record(cls: _Class) -> _Class:
    """Make a class of annotated fields frozen, comparable and hashable by value, with a repr.

    Fields may have defaults (immutable ones: they are shared). Methods that the class defines
    itself stay. Subclasses add no fields.
    """
    names = tuple(cls.__annotations__)
    values = attrgetter(*names) if len(names) > 1 else _single(names[0])
    own = vars(cls)
    defaults = {name: own[name] for name in names if name in own}
    methods = {
        "__init__": _initialiser(cls.__name__, names, defaults),
        "__repr__": _representation(names),
        "__eq__": _equality(values),
        "__hash__": lambda self: hash(values(self)),
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__match_args__": names,
    }
    for name, method in methods.items():
        if name not in own or (name == "__hash__" and own[name] is None):
            setattr(cls, name, method)
    return cls


def replace(original: Any, **changes: Any) -> Any:
    """A copy of a record with other values in some fields."""
    names = type(original).__match_args__
    return type(original)(**({name: getattr(original, name) for name in names} | changes))


def _single(name: str) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(name)
    return lambda self: (get(self),)


def _initialiser(
    kind: str, names: tuple[str, ...], defaults: dict[str, Any]
) -> Callable[..., None]:
    def __init__(self: Any, *values: Any, **options: Any) -> None:
        if options or len(values) != len(names):
            values = _complete(kind, names, defaults, values, options)
        self.__dict__.update(zip(names, values))

    return __init__


def _complete(
    kind: str,
    names: tuple[str, ...],
    defaults: dict[str, Any],
    values: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[Any, ...]:
    """All values in order, from positional and named ones and the defaults."""
    if len(values) > len(names):
        raise TypeError(f"{kind}() takes {len(names)} values, got {len(values)}.")
    given = dict(zip(names, values))
    twice = [name for name in options if name in given]
    unknown = [name for name in options if name not in names]
    if twice or unknown:
        raise TypeError(
            f"{kind}() has no fields {', '.join(unknown)}."
            if unknown
            else f"{kind}() got two values for {', '.join(twice)}."
        )
    complete = {**defaults, **given, **options}
    missing = [name for name in names if name not in complete]
    if missing:
        raise TypeError(f"{kind}() lacks values for {', '.join(missing)}.")
    return tuple(complete[name] for name in names)


def _representation(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({fields})"

    return __repr__


def _equality(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], bool]:
    def __eq__(self: Any, other: object) -> bool:
        if self is other:
            return True
        return (
            values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented
        )

    return __eq__


def _refuse(self: Any, name: str, *_value: Any) -> None:
    raise AttributeError(
        f"{type(self).__name__} is a record: its field {name!r} cannot be changed."
    )
