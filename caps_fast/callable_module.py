"""Modules that can be called: `caps_fast.sweep` and `caps_fast.policy` are a module and what it is for at once."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def calls(module: str, function: str, home: str = "") -> None:
    """Let `module` be called as its function of that name, or as the one of the module `home`, which is imported
    then.
    """

    class Called(ModuleType):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            return getattr(import_module(home or module), function)(*arguments, **named)

    sys.modules[module].__class__ = Called
