"""Named tuples as `typing` makes them, which itself takes 6 ms of every host's CPU to load.

Type checkers take this one for that one. A class lists its fields, and gives values to those behind that may
be left out.
"""

import _operator

try:
    from _collections import _tuplegetter as _field
except ImportError:  # before Python 3.8

    def _field(at: int, doc: "Optional[str]") -> "Any":
        return property(_operator.itemgetter(at), doc=doc)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, NamedTuple, Optional, Tuple

__all__ = ["NamedTuple"]
_VALUES = 1  # annotationlib.Format.VALUE


class _Making(type):
    """Makes fields of what is annotated in a class."""

    def __new__(making, name: str, bases: "Tuple[type, ...]", own: "Dict[str, Any]") -> "Any":
        later = own.get("__annotate_func__")  # from Python 3.14 on
        fields = tuple(later(_VALUES) if later is not None else own.get("__annotations__", ()))
        defaults = {field: own[field] for field in fields if field in own}
        getters = {field: _field(at, None) for at, field in enumerate(fields)}
        more = {"_fields": fields, "_defaults": defaults, "__slots__": ()}
        return type.__new__(making, name, bases, dict(own, **getters, **more))


class NamedTuple(tuple, metaclass=_Making):  # type: ignore[no-redef, type-arg]
    """See typing.NamedTuple."""

    if TYPE_CHECKING:
        _fields: "Tuple[str, ...]"
        _defaults: "Dict[str, Any]"

    def __new__(cls, *values: "Any", **named: "Any") -> "Any":
        """By place or by name. Raises TypeError."""
        if named or len(values) != len(cls._fields):
            values = cls._all_of(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _all_of(cls, values: "Tuple[Any, ...]", named: "Dict[str, Any]") -> "Tuple[Any, ...]":
        given = dict(zip(cls._fields, values))  # noqa: B905 - 3.6 has no strict
        if len(values) > len(cls._fields) or given.keys() & named or named.keys() - set(cls._fields):
            raise TypeError("%s has the fields %s, each once" % (cls.__name__, ", ".join(cls._fields)))
        given = dict(cls._defaults, **dict(given, **named))
        missing = [field for field in cls._fields if field not in given]
        if missing:
            raise TypeError("%s lacks %s" % (cls.__name__, ", ".join(missing)))
        return tuple(given[field] for field in cls._fields)

    def _replace(self, **named: "Any") -> "Any":
        return type(self)(**dict(self._asdict(), **named))

    def _asdict(self) -> "Dict[str, Any]":
        return dict(zip(self._fields, self))  # noqa: B905

    def __getnewargs__(self) -> "Tuple[Any, ...]":
        return tuple(self)

    def __repr__(self) -> str:
        said = ["%s=%r" % each for each in zip(self._fields, self)]  # noqa: B905
        return "%s(%s)" % (type(self).__name__, ", ".join(said))
