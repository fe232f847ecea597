"""Whether code that ran has replaced anything that a verdict rests on.

A snapshot holds what there is before a student's code runs: the functions, classes and methods of
the libraries, and every value of the checks. Whatever is another object afterwards was replaced.
It finds ``ex1.check = ...``, ``Report.points = ...``, ``torch.allclose = ...``,
``probe.SAME = 10`` and ``builtins.round = ...``. It cannot find what is put back in time.
"""

import builtins
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

# What checks calculate with, by the first part of a module's name.
LIBRARIES = re.compile(
    "PIL|ast|cmath|collections|contextlib|copy|dataclasses|diffusers|functools|gc|html|inspect|io|"
    "itertools|json|linecache|math|modarch_utils|numpy|operator|os|peft|posix|random|re|scipy|"
    "safetensors|skimage|sklearn|statistics|textwrap|time|timm|torch|torchvision|traceback|"
    "transformers|types"
)
# It replaces its own methods when it is used: every optimizer's `step` is wrapped, once.
RESTLESS = "torch.optim"
# They add methods to their classes when they are used: there a new name is no sign.
GROWING = re.compile("diffusers|peft|timm|transformers")
OURS, CHECKS = "modarch_utils", "modarch_utils.checks"
CALLABLES = (
    FunctionType,
    BuiltinFunctionType,
    MethodDescriptorType,
    WrapperDescriptorType,
    GetSetDescriptorType,
    type,
    property,
    staticmethod,
    classmethod,
)
BUILTINS = vars(builtins)


@dataclass(frozen=True)
class Space:
    """The names of a module or class, and the objects that their meaning depends on."""

    name: str
    live: Mapping[str, object]
    kept: dict[str, tuple]
    inherited: frozenset[str]
    """Names that a new one would hide."""
    checks: bool

    def changed(self) -> Iterator[str]:
        for name, parts in self.kept.items():
            now = self.live.get(name)
            if now is not parts[0] or (len(parts) > 1 and _differs(parts, now, self.checks)):
                yield f"{self.name}.{name}"
        for name in self.live.keys() - self.kept.keys():
            hides = name in self.inherited and _is(self.live[name], CALLABLES)
            imported = f"{self.name}.{name}" in sys.modules
            if hides or (self.checks and not imported and not name.startswith("__")):
                yield f"{self.name}.{name}"


class Snapshot:
    """What there was when it was taken."""

    def __init__(self) -> None:
        if "torch" in sys.modules:  # an optimizer's first step loads it, which wraps manual_seed
            importlib.import_module("torch._dynamo")
        self.builtins = dict(BUILTINS)
        self.modules = dict(sys.modules)
        self.spaces = [space for name in self.modules for space in _spaces(name)]

    def changed(self) -> list[str]:
        """The names that mean something else now.

        A name that is new counts where it hides another: in a class, or anywhere in the checks.
        """
        # First, and without calling any of them: the rest is written with builtins.
        for name, value in self.builtins.items():
            if BUILTINS.get(name) is not value:
                return [f"builtins.{name}"]
        changed = [
            name
            for name, module in self.modules.items()
            if _within(name, OURS) and sys.modules.get(name) is not module
        ]
        for space in self.spaces:
            changed += space.changed()
        return changed


def _spaces(name: str) -> Iterator[Space]:
    module = sys.modules[name]
    private = any(part.startswith("_") for part in name.split(".")) or _within(name, RESTLESS)
    root = name.partition(".")[0]
    if not LIBRARIES.fullmatch(root) or type(module) is not ModuleType or private:
        return
    ours, checks = _within(name, OURS), _within(name, CHECKS)
    for attribute, value in vars(module).items():
        if _is(value, (type,)) and value.__module__ == name:
            above = () if GROWING.fullmatch(root) else value.__mro__[1:]
            bases = frozenset(key for base in above for key in vars(base))
            kept = _kept(vars(value), ours, checks)
            yield Space(f"{name}.{attribute}", vars(value), kept, bases, checks)
    yield Space(name, vars(module), _kept(vars(module), ours, checks), frozenset(), checks)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _is(value: object, types: tuple[type, ...]) -> bool:
    return issubclass(type(value), types)  # isinstance would ask the value itself


def _kept(live: Mapping[str, object], values: bool, contents: bool) -> dict[str, tuple]:
    return {
        name: _parts(value, contents)
        for name, value in live.items()
        if _is(value, CALLABLES) or (values and not name.startswith("__"))
    }


def _parts(value: object, contents: bool) -> tuple:
    """The objects that decide what `value` does; with `contents` those in a container too."""
    if _is(value, (property,)):
        return (value, *_parts(value.fget, False))
    if _is(value, (staticmethod, classmethod)):
        return (value, *_parts(value.__func__, False))
    if _is(value, (FunctionType,)):
        return (value, value.__code__, value.__defaults__, *(value.__kwdefaults__ or {}).values())
    if contents and _is(value, (dict,)):
        return (value, *value, *value.values())
    if contents and _is(value, (list,)):
        return (value, *value)
    return (value,)


def _differs(parts: tuple, value: object, contents: bool) -> bool:
    now = _parts(value, contents)
    return len(now) != len(parts) or any(a is not b for a, b in zip(parts, now, strict=True))
