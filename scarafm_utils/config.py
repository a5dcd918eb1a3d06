"""Strict YAML: keys and values checked on load, and each mistake told in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import InputError, suggest

UNKNOWN = "unknown"


def _once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("an entry stands twice")
    return values


def _safe(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return name
    raise ValueError("a name holds letters, digits, '.', '_' and '-' only, and starts with a letter or digit")


Count = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
SafeName = Annotated[str, AfterValidator(_safe)]
Unique = AfterValidator(_once)


class Strict(BaseModel):
    """A part of a YAML file: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _unknown_is_none(cls, values: Any) -> Any:
        """Read the word `unknown` as None (or as an empty list) where the key allows that."""
        if not isinstance(values, dict):
            return values
        blank: dict[str, list | None] = {}
        for name, field in cls.model_fields.items():
            if values.get(name) == UNKNOWN and type(None) in get_args(field.annotation):
                blank[name] = None
            elif values.get(name) == UNKNOWN and get_origin(field.annotation) is list:
                blank[name] = []
        return {**values, **blank}


class _Loader(yaml.SafeLoader):
    """YAML without code, without repeated keys, and with 1e-4 as a number (as in YAML 1.2)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"line {line}: key '{key.value}' stands twice. Keep one of the two.")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file that holds keys and values; refuse code and repeated keys."""
    path = Path(path)
    if not path.is_file():
        where = f"'{path.parent.name}'" if path.parent.name else "this folder"
        raise InputError(f"{path.name}: no such file in {where}, {_yaml_files(path)}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path.name}: expected keys and values, found {_short(values)}.")
    return values


def validate(model: type[Strict], values: dict, *, where: str) -> Any:
    """Build `model` from `values`; the first mistake becomes one line that starts with `where`.

    `where` is a file ("demo.yaml:") or a key in it ("mine.yaml: datasets.A").
    """
    try:
        return model.model_validate(values)
    except ValidationError as errors:
        first, *others = errors.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        text = _explain(model, first) + more
        raise InputError(where + (" " + text.lstrip(".") if where.endswith(":") else text)) from None


def _explain(model: type[Strict], error: Any) -> str:
    """Say which key, which value, what is allowed."""
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"] if p != "[key]")
    value, kind = _short(error["input"]), error["type"]
    if kind == "missing":
        return f"{path}: this key is missing. Add it."
    if kind == "extra_forbidden":
        *parents, key = error["loc"]
        return f"{path} = {value}: unknown key, {suggest(key, _keys_at(model, parents))}."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"]) or [error["ctx"]["expected"]]
        return f"{path} = {value}: not known, {suggest(error['input'], allowed)}."
    message = str(error["ctx"]["error"]) if kind == "value_error" else error["msg"]
    quote = " (quote it if it is text)" if kind == "string_type" else ""
    shown = "" if isinstance(error["input"], dict) else f" = {value}"
    return f"{path}{shown}: {' '.join(message.split())}{quote}."


def _keys_at(model: Any, loc: list) -> list[str]:
    """Names of the keys allowed at `loc` below `model`."""
    for part in loc:
        step = model.model_fields[part].annotation if _is_model(model) else get_args(model)[-1]
        optional = [a for a in get_args(step) if get_origin(a) or _is_model(a)]
        model = optional[0] if type(None) in get_args(step) and optional else step
    return list(model.model_fields) if _is_model(model) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _yaml_files(path: Path) -> str:
    """The YAML files beside a missing one, the nearest name first."""
    found = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return suggest(path.name, found) if found else "nor is any other YAML file there"
