"""YAML files checked by a schema: scenarios, and what other packages describe in such files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.files import open_regular

LEAST, GREATEST = 1e-9, 1e9
"""What a number other than 0 lies between in size: beyond, products of a few overflow."""


def in_bounds(value: float) -> float:
    """The value, if it lies within `LEAST` and `GREATEST`, of either sign, or is 0.

    Raises:
        ValueError: If it does not.
    """
    if value and not LEAST <= abs(value) <= GREATEST:
        raise ValueError(f"it must be between {LEAST:g} and {GREATEST:g} in size")
    return value


Positive = Annotated[
    float, Field(gt=0, allow_inf_nan=False, strict=True), AfterValidator(in_bounds)
]
NotNegative = Annotated[
    float, Field(ge=0, allow_inf_nan=False, strict=True), AfterValidator(in_bounds)
]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True), AfterValidator(in_bounds)]


class Strict(BaseModel):
    """A part of a file: no unknown keys, and no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LARGEST = 2**20
"""Bytes of a file at most."""

_DEEPEST, _MOST, _DIGITS = 50, 10_000, 100
"""Levels of nesting in a file at most; values, counted anew for each alias; digits of a number."""


class _Loader(yaml.SafeLoader):
    """Reads YAML without surprises.

    Numbers and truth values are those of YAML 1.2's core schema, ``5e-5`` among them, but not
    ``no`` or ``12:30``, and whole numbers in thousands, ``10_000``; a key stands once; and a file
    stays as small as it looks.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # of the nodes that aliases may stand for

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.peek_event(), self._count
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _fault(f"{event.anchor!r} refers to itself", event)
            self._count += self._sizes[id(node)]
        else:
            self._depth += 1
            self._count += 1
            if self._depth > _DEEPEST:
                raise _fault(f"it is nested too deeply; {_DEEPEST} levels are allowed", event)
            node = super().compose_node(parent, index)
            self._depth -= 1
            self._sizes[id(node)] = self._count - before
        if self._count > _MOST:
            raise _fault(f"it holds more than {_MOST} values", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _fault(f"key {shown(key.value)} stands more than once", key)
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:  # of a tag that does not fit
            raise _fault(f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}", node) from None

    def text(self, node: yaml.ScalarNode) -> str:
        value = str(self.construct_scalar(node))
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise _fault(f"{value!a} holds half of a character", node)
        return value

    def truth(self, node: yaml.ScalarNode) -> bool:
        return {"true": True, "false": False}[self.construct_scalar(node).lower()]

    def whole(self, node: yaml.ScalarNode) -> int:
        value = self.construct_scalar(node)
        if len(value) > _DIGITS:
            raise _fault(f"a number has {len(value)} digits; {_DIGITS} are allowed", node)
        base = {"0o": 8, "0x": 16}.get(value[:2], 10)
        return int(value if base == 10 else value[2:], base)  # which takes thousands apart, too

    def real(self, node: yaml.ScalarNode) -> float:
        value = self.construct_scalar(node).lower()
        if len(value) > _DIGITS:
            raise _fault(f"a number has {len(value)} digits; {_DIGITS} are allowed", node)
        return float(value.replace(".inf", "inf").replace(".nan", "nan"))


def _fault(message: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, message, at.start_mark)


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1
_Loader.yaml_constructors = {}
for _tag, _pattern, _first, _constructor in (  # https://yaml.org/spec/1.2.2/#103-core-schema
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", _Loader.truth),
    (
        "int",
        r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?[1-9][0-9]{0,2}(_[0-9]{3})+",
        "-+0123456789",
        _Loader.whole,
    ),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _Loader.real,
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""], _Loader.construct_yaml_null),
    ("merge", r"<<", "<", _Loader.text),
    ("str", None, "", _Loader.text),
    ("seq", None, "", _Loader.construct_yaml_seq),
    ("map", None, "", _Loader.construct_yaml_map),
    (None, None, "", _Loader.construct_undefined),
):
    _name = _tag and f"tag:yaml.org,2002:{_tag}"
    _Loader.add_constructor(_name, _constructor)
    if _pattern is not None:
        _Loader.add_implicit_resolver(_name, re.compile(f"(?:{_pattern})$"), list(_first))


def plain(value: object) -> Any:
    """A mapping with what NumPy has in it as plain numbers and lists."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value


def content_of(
    source: object, kind: str, shipped: Mapping[str, Path]
) -> tuple[Mapping[str, Any], str, Path | None]:
    """The fields that a source gives: a mapping, a YAML file, or the name of one in the package.

    Args:
        source: The source.
        kind: What it describes, for errors: ``"scenario"``.
        shipped: Names and files of those in the package.

    Returns:
        The fields, what an error calls them, and the folder of the file, if they are from one.

    Raises:
        DystaError: If there is none.
    """
    if isinstance(source, Mapping):
        where = f"{kind} {shown(source.get('name', ''))}"
        try:
            return plain(source), where, None
        except RecursionError:
            raise DystaError(f"{where} is nested too deeply, or holds itself") from None
    if not isinstance(source, str | Path):
        raise DystaError(
            f"{kind}: {shown(source)} is not allowed; it must be a name, a YAML file or a mapping"
        )
    path = shipped.get(str(source), Path(source))
    if path.suffix not in {".yaml", ".yml"}:
        raise one_of(kind, str(source), [*shipped, "a YAML file"])
    where = f"{kind} file {str(path)!r}"
    return _read_mapping(path, where), where, path.parent


def _read_mapping(path: Path, where: str) -> Mapping[str, Any]:
    """The mapping in a YAML file, which an error calls ``where``.

    Raises:
        DystaError: If there is none.
    """
    try:
        with open_regular(path, where) as stream:
            text = stream.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise DystaError(f"{where} is larger than {LARGEST} bytes")
        content = yaml.load(text.decode(), Loader=_Loader)  # a safe one
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except DystaError:
        raise
    except yaml.YAMLError as error:
        raise DystaError(f"{where} is not valid YAML ({' '.join(str(error).split())})") from None
    except Exception as error:  # the operating system, the encoding, and what the parser lets by
        raise DystaError(f"{where} cannot be read ({error})") from None
    if not isinstance(content, Mapping):
        raise DystaError(f"{where} holds a {type(content).__name__}; it must hold a mapping")
    return content


_NAMED = re.compile(r"[a-z_.]+(, [a-z_.]+)*: ")
"""Begins a message that names a field itself."""


def _model_of(model: type[BaseModel], field: str) -> type[BaseModel]:
    """Schema of a field that is a mapping, also where it may be None; of no mapping, ``model``."""
    kind = model.model_fields[field].annotation if field in model.model_fields else None
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return model


_PART = re.compile(r"\d+|[a-z]+(_[a-z]+)*")


def place_of(fault: Mapping[str, Any]) -> list[str]:
    """Where in a file one of pydantic's errors is, without its own additions."""
    return [str(part) for part in fault["loc"] if _PART.fullmatch(str(part))]


def told(
    fault: Mapping[str, Any],
    path: Sequence[str],
    model: type[BaseModel],
    tag: str,
    kinds: Iterable[str],
    example: str,
) -> str:
    """A fault that pydantic found, as ``field: value is ...; what would be right``.

    Args:
        fault: One of pydantic's errors.
        path: Where it is, without pydantic's own additions.
        model: Schema of the mapping that it is in.
        tag: Key that says of which kind a part of the file is.
        kinds: The kinds that there are.
        example: What such a part may look like.
    """
    name = ".".join(path)
    if fault["type"] == "extra_forbidden":
        for part in path[:-1]:
            model = _model_of(model, part)
        return f"key {shown(name)} is unknown; choose one of: {', '.join(model.model_fields)}"
    if fault["type"].startswith("union_tag"):
        kind = fault.get("ctx", {}).get("tag")
        given = "is missing" if kind is None else f"{shown(kind)} is not allowed"
        return f"{tag}: {given}; choose one of: {', '.join(map(repr, kinds))}"
    if fault["type"] == "missing":
        return f"key {name!r} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_attributes_type":
        message = f"it must be a mapping, like {example}"
    if fault["type"] in ("tuple_type", "list_type"):
        message = "it must be a list, like [1, 2]"
    if fault["type"] == "value_error" and _NAMED.match(message):
        return f"{name}.{message}" if name else message
    return f"{name}: {shown(fault['input'])} is not allowed; {message[:1].lower()}{message[1:]}"
