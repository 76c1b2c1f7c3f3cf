"""Dataclasses as what JSON has, and back, by the types of their fields.

Nothing is bent to fit: a bool is no int, a tuple is no list. An int in a field of floats becomes a float.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import (
    Any,
    Callable,
    Dict,
    Final,
    FrozenSet,
    Generic,
    List,
    Literal,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from kvstore.errors import InvalidArgumentError

__all__ = ["Record"]

T = TypeVar("T")

_UNIONS: List[Any] = [Union]
if sys.version_info >= (3, 10):
    import types

    _UNIONS.append(types.UnionType)

# What JSON has, by what the standard library makes of it.
_KINDS: Final[Dict[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
}
_EVERY_KIND: Final = frozenset(_KINDS.values())


class _Form(NamedTuple):
    """What becomes of a value, and back; both raise TypeError when it does not fit. `kinds`: what it is in JSON."""

    plain: Callable[[Any], Any]
    made_of: Callable[[Any], Any]
    kinds: FrozenSet[str]


class Record(Generic[T]):
    """One dataclass.

    Raises:
        InvalidArgumentError: It is none, or has a field that JSON cannot bring back; names it.
    """

    def __init__(self, cls: Any) -> None:
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            msg = f"dataclass_codec: {cls!r} is no dataclass"
            raise InvalidArgumentError(msg)
        self._form = _record(cls, {})

    def plain(self, value: T) -> Dict[str, Any]:
        """As a dict. TypeError: it is of another class, or a field does not fit."""
        plain: Dict[str, Any] = self._form.plain(value)
        return plain

    def made_of(self, plain: Any) -> T:
        """Out of a dict. TypeError: the fields do not fit; ValueError: the class itself refuses them."""
        made: T = self._form.made_of(plain)
        return made


def _record(cls: Any, known: Dict[type, _Form]) -> _Form:
    """The form of a dataclass. `known`: those that are being looked at, because one may have itself as a field."""
    forms: Dict[str, _Form] = {}

    def plain(value: Any) -> Dict[str, Any]:
        if type(value) is not cls:
            raise _unfit(value, cls.__name__)
        return {name: _of_field(name, form.plain, getattr(value, name)) for name, form in forms.items()}

    def made_of(found: Any) -> Any:
        if type(found) is not dict:
            raise _unfit(found, cls.__name__)
        for name in found:
            if name not in forms:
                msg = f"{cls.__name__} has no field {name!r}"
                raise TypeError(msg)
        # One that is missing has a default, or the class says which it is.
        return cls(**{name: _of_field(name, forms[name].made_of, value) for name, value in found.items()})

    known[cls] = form = _Form(plain, made_of, frozenset(["dict"]))
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        # What the constructor does not take it makes by itself.
        if field.init:
            forms[field.name] = _form(hints[field.name], f"{cls.__name__}.{field.name}", known)
    return form


def _hints(cls: Any) -> Dict[str, Any]:
    try:
        hints = get_type_hints(cls)
    except (NameError, TypeError) as error:
        msg = f"dataclass_codec: the types of the fields of {cls.__name__} cannot be found out: {error}"
        raise InvalidArgumentError(msg) from error
    for name, hint in hints.items():
        # What the constructor takes and the instance does not have.
        if isinstance(hint, dataclasses.InitVar):
            where = f"{cls.__name__}.{name}"
            raise _unknown(where, hint)
    return hints


def _form(hint: Any, where: str, known: Dict[type, _Form]) -> _Form:
    """The form of a type; `where` names the field."""
    form = _simple(hint) or _generic(hint, where, known)
    if form is None and isinstance(hint, type) and dataclasses.is_dataclass(hint):
        form = known.get(hint) or _record(hint, known)
    if form is None:
        raise _unknown(where, hint)
    return form


def _simple(hint: Any) -> Optional[_Form]:
    if hint is Any:
        return _Form(_json, _json, _EVERY_KIND)
    if hint is float:
        return _Form(_float, _float, frozenset(["float"]))
    if hint is None or hint in (bool, int, str, type(None)):
        return _exact(type(None) if hint is None else hint)
    return None


def _generic(hint: Any, where: str, known: Dict[type, _Form]) -> Optional[_Form]:
    origin = get_origin(hint) or hint
    # An alias of typing without arguments has type variables there on some versions.
    arguments = tuple(Any if isinstance(each, TypeVar) else each for each in get_args(hint))
    form: Optional[_Form] = None
    if origin is Literal and all(type(each) in _KINDS for each in arguments):
        form = _literal(arguments)
    elif origin in _UNIONS:
        form = _union([_form(each, where, known) for each in arguments], where, hint)
    elif origin is list:
        form = _list(_form(arguments[0] if arguments else Any, where, known))
    elif origin is tuple and arguments:
        form = _tuple(arguments, where, known)
    elif origin is dict and (not arguments or arguments[0] is str or arguments[0] is Any):
        form = _dict(_form(arguments[1] if arguments else Any, where, known))
    return form


def _exact(cls: type) -> _Form:
    def check(value: Any) -> Any:
        if type(value) is not cls:
            raise _unfit(value, cls.__name__)
        return value

    return _Form(check, check, frozenset([_KINDS[cls]]))


def _float(value: Any) -> float:
    if type(value) not in (float, int):
        raise _unfit(value, "float")
    return float(value)


def _json(value: Any) -> Any:
    """Whatever comes back from JSON as it went in."""
    if type(value) is list:
        return [_json(each) for each in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _json(each) for key, each in value.items()}
    if type(value) not in _KINDS or type(value) is dict:
        raise _unfit(value, "what JSON has")
    return value


def _literal(choices: Tuple[Any, ...]) -> _Form:
    def check(value: Any) -> Any:
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return value
        msg = f"{value!r} is none of {', '.join(map(repr, choices))}"
        raise TypeError(msg)

    return _Form(check, check, frozenset(_KINDS[type(choice)] for choice in choices))


def _union(arms: List[_Form], where: str, hint: Any) -> _Form:
    kinds = [kind for arm in arms for kind in sorted(arm.kinds)]
    if len(kinds) != len(set(kinds)):
        # JSON does not say which of them a value was.
        raise _unknown(where, hint)
    by_kind = {kind: arm for arm in arms for kind in arm.kinds}
    if "float" in by_kind:
        by_kind.setdefault("int", by_kind["float"])

    def plain(value: Any) -> Any:
        # An int is a float only where nothing else takes it.
        for arm in sorted(arms, key=lambda arm: "float" in arm.kinds):
            with contextlib.suppress(TypeError):
                return arm.plain(value)
        raise _unfit(value, str(hint))

    def made_of(value: Any) -> Any:
        arm = by_kind.get(_KINDS[type(value)])
        if arm is None:
            raise _unfit(value, str(hint))
        return arm.made_of(value)

    return _Form(plain, made_of, frozenset(kinds))


def _list(item: _Form) -> _Form:
    def convert(value: Any, convert_item: Callable[[Any], Any]) -> List[Any]:
        if type(value) is not list:
            raise _unfit(value, "list")
        return [convert_item(each) for each in value]

    return _Form(
        lambda value: convert(value, item.plain), lambda value: convert(value, item.made_of), frozenset(["list"])
    )


def _dict(item: _Form) -> _Form:
    def convert(value: Any, convert_item: Callable[[Any], Any]) -> Dict[str, Any]:
        if type(value) is not dict or not all(type(key) is str for key in value):
            raise _unfit(value, "dict by str")
        return {key: convert_item(each) for key, each in value.items()}

    return _Form(
        lambda value: convert(value, item.plain), lambda value: convert(value, item.made_of), frozenset(["dict"])
    )


def _tuple(arguments: Tuple[Any, ...], where: str, known: Dict[type, _Form]) -> _Form:
    is_endless = arguments[-1] is ...
    items = [_form(each, where, known) for each in arguments if each is not ... and each != ()]

    def forms_for(value: Any, cls: Type[Any]) -> List[_Form]:
        if type(value) is not cls or not (is_endless or len(value) == len(items)):
            raise _unfit(value, "such a tuple")
        return items * len(value) if is_endless else items

    def plain(value: Any) -> List[Any]:
        return [form.plain(each) for form, each in zip(forms_for(value, tuple), value)]

    def made_of(value: Any) -> Tuple[Any, ...]:
        return tuple(form.made_of(each) for form, each in zip(forms_for(value, list), value))

    return _Form(plain, made_of, frozenset(["list"]))


def _of_field(name: str, convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except TypeError as error:
        msg = f"{name}: {error}"
        raise TypeError(msg) from error


def _unfit(value: Any, wanted: str) -> TypeError:
    return TypeError(f"a {type(value).__name__} is no {wanted}")


def _unknown(where: str, hint: Any) -> InvalidArgumentError:
    return InvalidArgumentError(f"dataclass_codec: {where}: JSON cannot bring back {hint}")
