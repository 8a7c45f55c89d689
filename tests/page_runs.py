"""Series of runs that pages show, and the browser that opens them."""

from __future__ import annotations

import shutil
from typing import Any

import polars as pl

from caps_fast.books import SEEN_STATES

NAN = float("nan")
BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
SPY = """<script>
const told = []; addEventListener("error", event => told.push(event.message));
for (const name of ["error", "warn"]) { console[name] = (...text) => told.push(text.join(" ")); }
new MutationObserver((_, spy) => { if (document.body && document.body.dataset.ready) { spy.disconnect();
  const loaded = performance.getEntriesByType("resource").map(one => one.name);
  const asked = loaded.filter(name => !/^(data|blob):/.test(name));
  document.body.dataset.spied = JSON.stringify({told, asked,
    width: document.documentElement.clientWidth, needs: document.documentElement.scrollWidth});
} }).observe(document, {attributes: true, subtree: true, childList: true});
</script>"""


def series_of(region: str = "here", name: str = "lp", **columns: Any) -> pl.DataFrame:
    """Four samples, an hour apart, of one pool of four replicas."""
    own: dict[str, Any] = {state: [0, 0, 0, 0] for state in SEEN_STATES} | {
        "idle": [4, 2, 1, 1],
        "busy": [0, 1, 1, 1],
        "draining": [0, 1, 0, 0],
        "off": [0, 0, 2, 2],
    }
    own |= {
        "gamma_g_per_kwh": [100.0, 200.0, 300.0, 300.0],
        "power_w": [NAN, 1000.0, 2000.0, 3000.0],
        "residents": [0, 5, 5, 5],
    }
    keys = {
        "preset": "paper",
        "policy": "edf",
        "seed": 0,
        "t_s": [0.0, 3600.0, 7200.0, 10800.0],
        "pool": 0,
        "role": "LP",
    }
    return pl.DataFrame(
        keys
        | own
        | {"waiting": [0, 1, 7, 0], "open": [True, False, True, True], "name": name, "region": region}
        | columns
    )
