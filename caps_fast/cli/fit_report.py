"""What `fit-profile` prints: coefficients, and the error of every point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from caps_fast.fitting.speed import SpeedFit
    from caps_fast.profiles.fit import Fit

MILLI = 1e3
SHOWN = 40  # points of one kind that are printed; of more, only the worst


def measurement_lines(found: Fit) -> list[str]:
    """Every point of a fit to a table of prompt times, decode steps and power."""
    units = {
        "prefill": ("prompt tokens", "ms", MILLI),
        "step": ("batch", "ms", MILLI),
        "power": ("batch", "W per GPU", 1.0),
    }
    lines = [f"{'':8} {'at':>22} {'measured':>12} {'fitted':>12} {'error':>8}"]
    for what, at, measured, fitted, error in found.points.iter_rows():
        axis, unit, scale = units[what]
        lines.append(
            f"{what:8} {at:8,.5g} {axis:13} {scale * measured:12,.5g} {scale * fitted:12,.5g} {error:+8.1%}  {unit}"
        )
    summary = found.summary()
    for what in units:
        if f"{what}_mean_error" in summary:
            lines.append(
                f"{what:8} mean error {summary[f'{what}_mean_error']:.1%}, worst {summary[f'{what}_worst_error']:+.1%}"
            )
        else:
            lines.append(f"{what:8} not measured here: from another profile")
    return lines


def coefficient_lines(found: SpeedFit) -> list[str]:
    """Every coefficient with its interval and its source."""
    from caps_fast.text_table import text_lines

    rows = []
    for one in found.coefficients:
        interval = f"{one.interval[0]:.3g} to {one.interval[1]:.3g}" if one.interval else ""
        rows.append([one.field, f"{one.value:.4g}", interval, one.origin])
    return text_lines(["coefficient", "value", "95 % interval", "origin"], rows, [False, True, True, False])


def point_lines(points: pl.DataFrame) -> list[str]:
    """Every point of a small group, the worst of a large one, and the errors of each group."""
    import numpy as np
    import polars as pl

    lines: list[str] = []
    for (file, what), group in points.group_by("file", "what", maintain_order=True):
        unit, scale = ("W per GPU", 1.0) if what == "power" else ("ms", MILLI)
        errors = group["error"].to_numpy()
        short = f"mean error {np.abs(errors).mean():.1%}, bias {errors.mean():+.1%}, worst {np.abs(errors).max():.1%}"
        lines += ["", f"{file}: {what}, {len(group):,} points in {unit}: {short}"]
        shown = group if len(group) <= SHOWN else group.sort(pl.col("error").abs(), descending=True).head(10)
        if len(shown) < len(group):
            lines.append("the worst of them:")
        for at, measured, fitted, error in shown.select("at", "measured", "fitted", "error").iter_rows():
            lines.append(f"  {at:48} {scale * measured:12,.5g} {scale * fitted:12,.5g} {error:+8.1%}")
    return lines
