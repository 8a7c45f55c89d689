"""The built-in presets as TOML; calling the module returns their names."""

from __future__ import annotations

from caps_fast.callable_module import calls

calls(__name__, "presets", "caps_fast.scenario")  # for `from caps_fast import presets`
