"""The tables of `run`: a row per policy, bounds, pools."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caps_fast.results import Result


def bound_of(result: Result) -> dict[str, float]:
    """The bound of policies that keep what this run kept (docs/bound.md), and the bill over it."""
    from caps_fast.books import ratio
    from caps_fast.bounds import bound_of_run

    least_kg = bound_of_run(result).kg
    return {"bound_kg": least_kg, "over_bound": ratio(result.metrics["bill_kg"], least_kg)}


def print_table(results: list[Result]) -> None:
    """Print the main metrics, a row per policy."""
    from caps_fast.metrics import METRICS, TABLE
    from caps_fast.text_table import counted, text_lines

    config, metrics = results[0].scenario, results[0].metrics
    rate = metrics["requests"] / config.horizon_s
    cluster = f"{counted(config.fleet.replicas, 'replica')} in {config.fleet.split}"
    print(
        f"{counted(int(metrics['requests']), 'request')} in {counted(config.days, 'day')} ({rate:.3g} a second), "
        f"{cluster}, seed {config.seed}"
    )
    rows = [
        [result.scenario.policy.name, *(METRICS[name].shown(result.metrics[name]) for name in TABLE)]
        for result in results
    ]
    print(
        "\n".join(
            text_lines(["policy", *(METRICS[name].heading for name in TABLE)], rows, [False] + [True] * len(TABLE))
        )
    )


def print_bounds(results: list[Result], bounds: list[dict[str, float]]) -> None:
    """Print the bill of each run, its bound, and their ratio."""
    from caps_fast.text_table import text_lines

    rows = [
        [
            result.scenario.policy.name,
            f"{result.metrics['bill_kg']:,.4g}",
            f"{own['bound_kg']:,.4g}",
            f"{own['over_bound']:.3f}",
        ]
        for result, own in zip(results, bounds, strict=True)
    ]
    print("\n" + "\n".join(text_lines(["policy", "bill kg", "bound kg", "bill / bound"], rows, [False] + [True] * 3)))


def print_pools(results: list[Result]) -> None:
    """Print the metrics of every pool; of the states other than idle and busy, only those that occurred."""
    from caps_fast.arrays import BUSY, STATES
    from caps_fast.metrics import POOL_METRICS
    from caps_fast.text_table import text_lines

    pools = [
        (result.scenario.policy.name, pool, values) for result in results for pool, values in result.by_pool.items()
    ]
    names = [
        name
        for name in POOL_METRICS
        if not name.startswith(STATES[BUSY + 1 :]) or any(values[name] for _, _, values in pools)
    ]
    rows = [
        [policy, pool, *(POOL_METRICS[name].shown(values[name]) for name in names)] for policy, pool, values in pools
    ]
    heads = ["policy", "pool", *(POOL_METRICS[name].heading for name in names)]
    print("\n" + "\n".join(text_lines(heads, rows, [False] * 2 + [True] * len(names))))
