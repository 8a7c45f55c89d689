"""The built-in presets as TOML; called, their names."""

from __future__ import annotations

from caps_fast.callable_module import calls

calls(__name__, "presets", "caps_fast.scenario")  # as `from caps_fast import presets` promises
