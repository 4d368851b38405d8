"""YAML files checked by a schema: scenarios, and what other packages describe in such files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field

from dysta_gym.errors import DystaError, one_of

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Strict(BaseModel):
    """A part of a file: no unknown keys, and no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Loader(yaml.SafeLoader):
    """Reads YAML without surprises: a key stands once, and ``5e-5`` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands more than once", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(  # YAML 1.1 takes a number with an exponent but no dot for text
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


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
        return source, f"{kind} {source.get('name', '')!r}", None
    if not isinstance(source, str | Path):
        raise DystaError(
            f"{kind}: {source!r} is not allowed; it must be a name, a YAML file or a mapping"
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
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a safe one
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DystaError(f"{where} cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise DystaError(f"{where} is not valid YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise DystaError(f"{where} is nested too deeply; it must hold a mapping") from None
    if not isinstance(content, Mapping):
        raise DystaError(f"{where} holds a {type(content).__name__}; it must hold a mapping")
    return content


_NAMED = re.compile(r"[a-z_]+(, [a-z_]+)*: ")
"""Begins a message that names a field itself."""


def _model_of(model: type[BaseModel], field: str) -> type[BaseModel]:
    """Schema of a field that is a mapping, also where it may be None; of no mapping, ``model``."""
    kind = model.model_fields[field].annotation if field in model.model_fields else None
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return model


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
        return f"key {name!r} is unknown; choose one of: {', '.join(model.model_fields)}"
    if fault["type"].startswith("union_tag"):
        kind = fault.get("ctx", {}).get("tag")
        given = "is missing" if kind is None else f"{kind!r} is not allowed"
        return f"{tag}: {given}; choose one of: {', '.join(map(repr, kinds))}"
    if fault["type"] == "missing":
        return f"key {name!r} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_attributes_type":
        message = f"it must be a mapping, like {example}"
    if fault["type"] == "value_error" and _NAMED.match(message):
        return f"{name}.{message}" if name else message
    return f"{name}: {fault['input']!r} is not allowed; {message[:1].lower()}{message[1:]}"
