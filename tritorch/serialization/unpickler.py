"""A reader of pickles that builds data and runs nothing.

Names in a pickle are looked up in a table, never imported. What the table offers is called with
what the file says; nothing else is. Every other instruction makes numbers, text and containers.
Opcodes: Lib/pickletools.py of Python; those of protocols 0 and 1 that PyTorch never writes are
refused.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from tritorch.errors import LoadError, OutOfMemoryError
from tritorch.serialization.known_arrays import ARRAYS, give_state, is_array_part
from tritorch.serialization.known_modules import is_module_class, known_part
from tritorch.serialization.safe_globals import BLOCKED_MODULES

#: Hashing a key visits every element, and a small file can name one tuple 2**n times.
_MAX_KEY_ELEMENTS = 10_000


#: the class of arrays, which is named as an argument and never called
_NDARRAY = "numpy.ndarray"


class Unpickler:
    """Reads one pickle from a file.

    Args:
        file: with `read` and `readline`.
        size: how many bytes it has at most; nothing longer is asked for.
        known: "module.name" -> what it stands for.
        listed: the same for what the user allowed; its instances may be given state.
        modules: whether modules of `known_modules` may be made, too: without a call; and NumPy's
            arrays and numbers (`known_arrays`).
        storage_of: the storage for a persistent id.
        encoding: of byte strings of Python 2; "bytes" leaves them.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        known: Mapping[str, Any],
        listed: Mapping[str, Any],
        storage_of: Callable[[tuple[Any, ...]], Any] | None = None,
        encoding: str = "utf-8",
        modules: bool = False,
    ) -> None:
        self._modules = modules
        self._file = file
        self._size = size
        self._known = known = {**known, **ARRAYS} if modules else known
        self._listed = listed
        self._callable = {id(value) for value in (*known.values(), *listed.values())}
        self._listed_ids = {id(value) for value in listed.values()}
        self._storage_of = storage_of
        self._encoding = encoding
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object.

        Raises:
            LoadError: the pickle is damaged, or names what is not allowed.
        """
        try:
            return self._load()
        except (LoadError, OutOfMemoryError):
            raise
        except (
            ArithmeticError, AttributeError, EOFError, LookupError, RecursionError, RuntimeError,
            TypeError, ValueError, struct.error,
        ) as error:  # fmt: skip
            raise LoadError(
                f"load: the pickled part of the file is damaged: {type(error).__name__}: "
                f"{str(error)[:300]}."
            ) from error

    def _load(self) -> Any:
        read, actions = self._file.read, _ACTIONS
        while True:
            code = read(1)
            if code == pickle.STOP:
                return self._stack.pop()
            action = actions.get(code)
            if action is None:
                raise LoadError(
                    "load: the pickled part of the file ends too early."
                    if not code
                    else f"load: the pickle uses instruction {code!r}, which is not supported."
                )
            action(self)

    # ---- bytes

    def _read(self, count: int) -> bytes:
        content = self._file.read(count) if 0 <= count <= self._size else b""
        if len(content) != count:
            raise LoadError("load: the pickled part of the file ends too early.")
        return content

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise LoadError("load: the pickled part of the file ends too early.")
        return line[:-1].decode()

    # ---- the stack

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    # ---- containers

    def _target(self, *kinds: type) -> Any:
        target = self._stack[-1]
        if type(target) not in kinds:
            raise LoadError(
                f"load: the pickle adds items to a {type(target).__name__}, expected "
                f"{' or '.join(kind.__name__ for kind in kinds)}."
            )
        return target

    def _set_items(self, items: list[Any]) -> None:
        target = self._target(dict, OrderedDict, Counter)
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            target[key] = value

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._target(set)
        for item in items:
            check_key(item)
            target.add(item)

    def _frozen(self) -> None:
        items = self._pop_mark()
        for item in items:
            check_key(item)
        self._stack.append(frozenset(items))

    # ---- names and calls

    def _global(self, module: str, name: str) -> None:
        whole = renamed(module, name)
        if whole in self._known:
            self._stack.append(self._known[whole])
        elif module.partition(".")[0] in BLOCKED_MODULES:
            raise LoadError(
                f"load: the file names {whole}, of module {module}, which is blocked. Such a file "
                "means harm."
            )
        elif whole in self._listed:
            self._stack.append(self._listed[whole])
        else:
            part = _NDARRAY if whole == _NDARRAY else known_part(whole)
            if part is not None and self._modules:
                self._stack.append(part)
                return
            advice = (
                "It is a part of a whole module or of an array of NumPy's; "
                "`load(..., weights_only=False)` makes those."
                if part is not None or whole in ARRAYS
                else "If you trust it, use "
                f"`tritorch.serialization.add_safe_globals([{name}])` or the "
                f"`tritorch.serialization.safe_globals([{name}])` context manager."
            )
            raise LoadError(
                f"load: Unsupported global: GLOBAL {whole} was not an allowed global by default. "
                f"{advice}"
            )

    def _check_callable(self, function: Any) -> None:
        if id(function) not in self._callable:
            raise LoadError(f"load: the pickle calls a {type(function).__name__}.")

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._check_callable(function)
        self._stack.append(function(*arguments))

    def _new(self, options: Mapping[str, Any], arguments: Any, kind: Any) -> None:
        if self._modules and id(kind) not in self._listed_ids and is_module_class(kind):
            if arguments != () or options:
                raise LoadError(f"load: the pickle gives arguments to {kind.__name__}.")
            self._stack.append(kind.__new__(kind))
            return
        self._check_callable(kind)
        if id(kind) in self._listed_ids:
            made = kind.__new__(kind, *arguments, **options)
        elif options:
            raise LoadError("load: the pickle gives keyword arguments to a known class.")
        else:
            made = kind(*arguments)
        self._stack.append(made)

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is OrderedDict:
            target.__dict__.update(state)
        elif self._modules and is_array_part(target):
            give_state(target, state)
        elif id(type(target)) not in self._listed_ids and not (
            self._modules and is_module_class(type(target))
        ):
            raise LoadError(f"load: the pickle gives state to a {type(target).__name__}.")
        elif hasattr(target, "__setstate__"):
            target.__setstate__(state)
        else:
            slots = None
            if isinstance(state, tuple) and len(state) == 2:
                state, slots = state
            if state:
                target.__dict__.update(state)
            for name, value in (slots or {}).items():
                setattr(target, name, value)

    def _persistent(self) -> None:
        identity = self._stack.pop()
        if self._storage_of is None or type(identity) is not tuple:
            raise LoadError("load: the pickle refers to a storage where none can be.")
        self._stack.append(self._storage_of(identity))

    def _python2_string(self, count: int) -> None:
        content = self._read(count)
        self._stack.append(content if self._encoding == "bytes" else content.decode(self._encoding))

    def _text(self, count: int) -> None:
        self._stack.append(str(self._read(count), "utf-8", "surrogatepass"))

    def _protocol(self) -> None:
        version = self._read(1)[0]
        if not 2 <= version <= pickle.HIGHEST_PROTOCOL:
            raise LoadError(f"load: the pickle is of protocol {version}, expected 2 to 5.")

    def _gather(self, count: int) -> None:
        if len(self._stack) < count:
            raise LoadError("load: the pickle makes a tuple of more than there is.")
        items = tuple(self._stack[-count:])
        self._stack[-count:] = [items]

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise LoadError("load: the pickle names a global by something that is no text.")
        self._global(module, name)


def check_key(key: Any) -> None:
    """Refuse keys that take for ever to hash; the time of this check is bounded."""
    budget = _MAX_KEY_ELEMENTS
    waiting = [key]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            budget -= len(item)
            if budget < 0:
                raise LoadError("load: the pickle has a key with too many elements.")
            waiting.extend(item)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if codecs.lookup(encoding).name != "iso8859-1":
        raise LoadError(f"load: the pickle encodes bytes as {str(encoding)[:40]!r}, not latin1.")
    return text.encode("latin1")


def _bytearray(content: Any = b"", encoding: str = "latin1") -> bytearray:
    if isinstance(content, str):
        return bytearray(_encode(content, encoding))
    if not isinstance(content, bytes):
        raise LoadError("load: the pickle makes a bytearray of what is no bytes.")
    return bytearray(content)


def _set(items: Any = ()) -> set[Any]:
    if type(items) is not list:
        raise LoadError("load: the pickle makes a set of what is no list.")
    for item in items:
        check_key(item)
    return set(items)


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    result: OrderedDict[Any, Any] = OrderedDict()
    for key, value in items:
        check_key(key)
        result[key] = value
    return result


def _counter(items: Any = None) -> Counter[Any]:
    if type(items) is not dict:
        raise LoadError("load: the pickle makes a Counter of what is no dict.")
    result: Counter[Any] = Counter()
    dict.update(result, items)
    return result


def _complex(real: float = 0.0, imaginary: float = 0.0) -> complex:
    return complex(float(real), float(imaginary))


def _bytes(*nothing: Any) -> bytes:
    """How protocol 2 writes empty bytes."""
    if nothing:
        raise LoadError("load: the pickle makes bytes of something.")
    return b""


#: containers and numbers of Python itself
BUILTINS: dict[str, Any] = {
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.set": _set,
    "builtins.frozenset": lambda items=(): frozenset(_set(items)),
    "collections.Counter": _counter,
    "collections.OrderedDict": _ordered_dict,
}
#: Python 2's names, which protocol 2 writes
_RENAMED = {
    ("__builtin__", name): ("builtins", name)
    for name in ("bytearray", "bytes", "complex", "frozenset", "set")
}


def renamed(module: str, name: str) -> str:
    """What Python 3 calls it: "module.name"."""
    return ".".join(_RENAMED.get((module, name), (module, name)))


def _constant(make: Callable[[], Any]) -> Callable[[Unpickler], None]:
    return lambda reader: reader._stack.append(make())


def _numbered(form: str) -> Callable[[Unpickler], None]:
    return lambda reader: reader._stack.append(reader._number(form))


def _counted(action: Callable[[Unpickler, int], None], form: str) -> Callable[[Unpickler], None]:
    return lambda reader: action(reader, reader._number(form))


def _get(reader: Unpickler, index: int) -> None:
    reader._stack.append(reader._memo[index])


def _plain_bytes(reader: Unpickler, count: int) -> None:
    reader._stack.append(reader._read(count))


def _long(reader: Unpickler, count: int) -> None:
    reader._stack.append(int.from_bytes(reader._read(count), "little", signed=True))


def _tuple(reader: Unpickler) -> None:
    items = tuple(reader._pop_mark())
    reader._stack.append(items)


def _pop_to_mark(reader: Unpickler) -> None:
    reader._pop_mark()


def _append(reader: Unpickler) -> None:
    item = reader._stack.pop()
    reader._target(list).append(item)


def _extend(reader: Unpickler) -> None:
    items = reader._pop_mark()
    reader._target(list).extend(items)


def _new_object(reader: Unpickler) -> None:
    arguments, kind = reader._stack.pop(), reader._stack.pop()
    reader._new({}, arguments, kind)


def _new_object_with_options(reader: Unpickler) -> None:
    options, arguments, kind = (reader._stack.pop() for _ in range(3))
    reader._new(options, arguments, kind)


_ACTIONS: dict[bytes, Callable[[Unpickler], None]] = {
    pickle.PROTO: Unpickler._protocol,
    pickle.FRAME: lambda reader: reader._number("<Q"),
    pickle.NONE: _constant(lambda: None),
    pickle.NEWTRUE: _constant(lambda: True),
    pickle.NEWFALSE: _constant(lambda: False),
    pickle.EMPTY_TUPLE: _constant(tuple),
    pickle.EMPTY_LIST: _constant(list),
    pickle.EMPTY_DICT: _constant(dict),
    pickle.EMPTY_SET: _constant(set),
    pickle.BININT: _numbered("<i"),
    pickle.BININT1: _numbered("<B"),
    pickle.BININT2: _numbered("<H"),
    pickle.BINFLOAT: _numbered(">d"),
    pickle.LONG1: _counted(_long, "<B"),
    pickle.LONG4: _counted(_long, "<i"),
    pickle.SHORT_BINUNICODE: _counted(Unpickler._text, "<B"),
    pickle.BINUNICODE: _counted(Unpickler._text, "<I"),
    pickle.BINUNICODE8: _counted(Unpickler._text, "<Q"),
    pickle.SHORT_BINSTRING: _counted(Unpickler._python2_string, "<B"),
    pickle.BINSTRING: _counted(Unpickler._python2_string, "<i"),
    pickle.SHORT_BINBYTES: _counted(_plain_bytes, "<B"),
    pickle.BINBYTES: _counted(_plain_bytes, "<I"),
    pickle.BINBYTES8: _counted(_plain_bytes, "<Q"),
    pickle.BYTEARRAY8: lambda r: r._stack.append(bytearray(r._read(r._number("<Q")))),
    pickle.MARK: Unpickler._mark,
    pickle.POP: Unpickler._pop,
    pickle.POP_MARK: _pop_to_mark,
    pickle.TUPLE: _tuple,
    pickle.TUPLE1: lambda reader: reader._gather(1),
    pickle.TUPLE2: lambda reader: reader._gather(2),
    pickle.TUPLE3: lambda reader: reader._gather(3),
    pickle.APPEND: _append,
    pickle.APPENDS: _extend,
    pickle.SETITEM: Unpickler._set_item,
    pickle.SETITEMS: lambda reader: reader._set_items(reader._pop_mark()),
    pickle.ADDITEMS: Unpickler._add_items,
    pickle.FROZENSET: Unpickler._frozen,
    pickle.BINPUT: _counted(Unpickler._put, "<B"),
    pickle.LONG_BINPUT: _counted(Unpickler._put, "<I"),
    pickle.MEMOIZE: lambda reader: reader._put(len(reader._memo)),
    pickle.BINGET: _counted(_get, "<B"),
    pickle.LONG_BINGET: _counted(_get, "<I"),
    pickle.GLOBAL: lambda reader: reader._global(reader._line(), reader._line()),
    pickle.STACK_GLOBAL: Unpickler._stack_global,
    pickle.REDUCE: Unpickler._reduce,
    pickle.NEWOBJ: _new_object,
    pickle.NEWOBJ_EX: _new_object_with_options,
    pickle.BUILD: Unpickler._build,
    pickle.BINPERSID: Unpickler._persistent,
}
