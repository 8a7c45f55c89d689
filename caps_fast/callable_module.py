"""Callable modules: `caps_fast.sweep` and `caps_fast.policy` are both a module and a function."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def calls(module: str, function: str, home: str = "") -> None:
    """Make `module` callable as its function of that name, or as that of the module `home`, which is imported on the
    first call.
    """

    class Called(ModuleType):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            return getattr(import_module(home or module), function)(*arguments, **named)

    sys.modules[module].__class__ = Called
