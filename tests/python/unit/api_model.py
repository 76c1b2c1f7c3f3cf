"""What Python text says about an API: classes, signatures, types of attributes, and how two such texts differ.

Types are compared as they are written, without quotes and without the name of the module that they come from.
"""

from __future__ import annotations

import ast
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

# Protocols of the language: their arguments are given by place, so their names are nobody's business.
_BY_PLACE = ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__enter__", "__exit__", "__aenter__")
_BY_PLACE += ("__aexit__",)

_TYPE_VARIABLES = {"_V": "V", "_D": "D", "_T": "T", "_K": "K"}


class Parameter(NamedTuple):
    """One argument. `default` is None when it has none."""

    name: str
    kind: str
    annotation: str
    default: Optional[str]


class Function(NamedTuple):
    """A function, or one overload of it."""

    parameters: Tuple[Parameter, ...]
    returns: str
    is_async: bool
    is_class_method: bool


Member = Union[str, List[Function]]
"""The type of an attribute, or the overloads of a method."""


class Class(NamedTuple):
    """What the body of a class says by itself."""

    bases: Tuple[str, ...]
    is_final: bool
    members: Dict[str, Member]
    defaults: Dict[str, str]
    """Of attributes."""


class Module(NamedTuple):
    """What a file says."""

    classes: Dict[str, Class]
    functions: Dict[str, List[Function]]
    constants: Dict[str, Tuple[str, str]]
    """Annotation and value of a name."""


# ----------------------------------------------------------------------------------------------------- as text
def text_of(node: Optional[ast.AST], names: Mapping[str, str]) -> str:
    """An annotation as text; `names` stand for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # A forward reference.
        return text_of(ast.parse(node.value, mode="eval").body, names)
    if isinstance(node, ast.Subscript):
        return _subscript(node, names)
    if isinstance(node, (ast.List, ast.Tuple)):
        inside = ", ".join(text_of(each, names) for each in node.elts)
        return f"[{inside}]" if isinstance(node, ast.List) else inside
    return value_of(node)


def _subscript(node: ast.Subscript, names: Mapping[str, str]) -> str:
    origin = text_of(node.value, names)
    inside = getattr(node.slice, "value", node.slice) if type(node.slice).__name__ == "Index" else node.slice
    if origin == "Literal":
        return f"Literal[{', '.join(sorted(value_of(inside).split(', ')))}]"
    argument = text_of(inside, names)
    if origin == "Final" or (origin == "Optional" and argument == "Any"):
        return argument
    return f"{origin}[{argument}]"


def value_of(node: Optional[ast.AST]) -> str:
    """A default as text."""
    if isinstance(node, ast.Constant):
        return _value(node)
    if isinstance(node, ast.Tuple):
        return ", ".join(value_of(each) for each in node.elts)
    if isinstance(node, ast.Name):
        return "..." if node.id == "DEFAULT" else node.id
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return "-" + value_of(node.operand)
    return "" if node is None else ast.dump(node)


def _value(node: ast.Constant) -> str:
    return "..." if node.value is ... else repr(node.value)


# ------------------------------------------------------------------------------------------------------ reading
def module_of(source: str) -> Module:
    """What a file says."""
    classes: Dict[str, Class] = {}
    functions: Dict[str, List[Function]] = {}
    constants: Dict[str, Tuple[str, str]] = {}
    tree = ast.parse(source)
    names = {**_TYPE_VARIABLES, **_private_aliases(tree)}
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef):
            classes[node.name] = _class_of(node, names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.setdefault(node.name, []).append(_function_of(node, names))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            constants[node.target.id] = (text_of(node.annotation, names), _alias_of(node.value, names))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = ("", _alias_of(node.value, names))
    return Module(classes, functions, constants)


def _alias_of(node: Optional[ast.expr], names: Mapping[str, str]) -> str:
    return text_of(node, names) if isinstance(node, ast.Subscript) else value_of(node)


def _private_aliases(tree: ast.Module) -> Dict[str, str]:
    """Names such as `_Exc: TypeAlias = ...`, which say nothing by themselves."""
    return {
        node.target.id: text_of(node.value, {})
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.startswith("_")
        if text_of(node.annotation, {}) == "TypeAlias"
    }


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            # One branch of it runs, on some version.
            yield from _statements([*node.body, *node.orelse])
        else:
            yield node


def _class_of(node: ast.ClassDef, names: Mapping[str, str]) -> Class:
    members: Dict[str, Member] = {}
    defaults: Dict[str, str] = {}
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _add_method(members, each, names)
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            members[each.target.id] = text_of(each.annotation, names)
            if each.value is not None:
                defaults[each.target.id] = value_of(each.value)
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            defaults[each.targets[0].id] = value_of(each.value)
    bases = tuple(text_of(base, names).partition("[")[0] for base in node.bases)
    return Class(bases, "final" in _decorators(node), members, defaults)


def _add_method(
    members: Dict[str, Member], node: Union[ast.FunctionDef, ast.AsyncFunctionDef], names: Mapping[str, str]
) -> None:
    if "property" in _decorators(node):
        members[node.name] = text_of(node.returns, names)
        return
    known = members.get(node.name)
    if not isinstance(known, list):
        members[node.name] = [_function_of(node, names)]
    elif "overload" in _decorators(node):
        # What follows the overloads without being one is how it is done.
        known.append(_function_of(node, names))


def _decorators(node: Union[ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef]) -> List[str]:
    return [text_of(each, {}) for each in node.decorator_list if not isinstance(each, ast.Call)]


def _function_of(node: Union[ast.FunctionDef, ast.AsyncFunctionDef], names: Mapping[str, str]) -> Function:
    args = node.args
    places = [*args.posonlyargs, *args.args]
    missing: List[Optional[ast.expr]] = [None] * (len(places) - len(args.defaults))
    found = [_parameter(each, "", default, names) for each, default in zip(places, [*missing, *args.defaults])]
    if args.vararg is not None:
        found.append(_parameter(args.vararg, "*", None, names))
    found += [_parameter(each, "keyword", default, names) for each, default in zip(args.kwonlyargs, args.kw_defaults)]
    if args.kwarg is not None:
        found.append(_parameter(args.kwarg, "**", None, names))
    decorators = _decorators(node)
    if places and "staticmethod" not in decorators and places[0].arg in ("self", "cls") and not found[0].annotation:
        del found[0]
    if node.name in _BY_PLACE:
        found = [each._replace(name=str(place)) for place, each in enumerate(found)]
    # A generator is not awaited, whatever is inside.
    is_async = isinstance(node, ast.AsyncFunctionDef) and not any(
        isinstance(each, ast.Yield) for each in ast.walk(node)
    )
    return Function(tuple(found), text_of(node.returns, names), is_async, "classmethod" in decorators)


def _parameter(node: ast.arg, kind: str, default: Optional[ast.AST], names: Mapping[str, str]) -> Parameter:
    return Parameter(node.arg, kind, text_of(node.annotation, names), None if default is None else value_of(default))


# ---------------------------------------------------------------------------------------------------- comparing
def differences(name: str, wanted: Member, found: Optional[Member]) -> Iterator[str]:
    """How a member differs from what it should be, a line each."""
    if found is None:
        yield f"{name}: missing"
    elif isinstance(wanted, str) or isinstance(found, str):
        if wanted != found:
            yield f"{name}: {_kind(found)} instead of {_kind(wanted)}"
    elif len(wanted) != len(found):
        yield f"{name}: {len(found)} overloads instead of {len(wanted)}"
    else:
        for number, (want, have) in enumerate(zip(wanted, found)):
            yield from _function_differences(name if len(wanted) == 1 else f"{name}#{number + 1}", want, have)


def _kind(member: Any) -> str:
    return member if isinstance(member, str) else "a method"


def _function_differences(name: str, wanted: Function, found: Function) -> Iterator[str]:
    if (wanted.is_async, wanted.is_class_method) != (found.is_async, found.is_class_method):
        yield f"{name}: another kind of function"
    if wanted.returns != found.returns:
        yield f"{name}: returns {found.returns} instead of {wanted.returns}"
    ours = {each.name: each for each in found.parameters}
    theirs = {each.name: each for each in wanted.parameters}
    for parameter in wanted.parameters:
        have = ours.get(parameter.name)
        if have is None:
            yield f"{name}({parameter.name}): missing"
        elif have != parameter:
            yield f"{name}({parameter.name}): {_parameter_text(have)} instead of {_parameter_text(parameter)}"
    for extra in ours:
        if extra not in theirs:
            yield f"{name}({extra}): more than the contract says"
    if [each for each in ours if each in theirs] != [each for each in theirs if each in ours]:
        yield f"{name}: another order of arguments"


def _parameter_text(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f" = {parameter.default}"
    return f"{parameter.kind} {parameter.annotation}{default}".strip()


def substitute(member: Member, variable: str, by: str) -> Member:
    """The member of a generic class whose variable is something."""
    if isinstance(member, str):
        return _put(member, variable, by)
    return [
        each._replace(
            returns=_put(each.returns, variable, by),
            parameters=tuple(
                parameter._replace(annotation=_put(parameter.annotation, variable, by)) for parameter in each.parameters
            ),
        )
        for each in member
    ]


def _put(text: str, variable: str, by: str) -> str:
    tree = ast.parse(text or "None", mode="eval").body
    return text_of(tree, {variable: by}) if text else text
