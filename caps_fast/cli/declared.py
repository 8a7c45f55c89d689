"""Options for facts that input files do not state, the same in `run`, `grid` and `inspect`: `--trace-time-unit`,
`--carbon-zone` and so on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

Options = Mapping[str, tuple[str, tuple[str, ...], str]]  # by name: the scenario's field, other names, help

TRACE: Options = {
    "trace_format": ("workload.trace_format", (), "request trace: name of its format"),
    "trace_columns": (
        "workload.trace_columns",
        (),
        "request trace: columns as time=NAME,input_tokens=NAME,output_tokens=NAME,tier=NAME,...",
    ),
    "trace_time_unit": ("workload.trace_time_unit", (), "request trace: unit of time: s, ms, us, ns or datetime"),
    "trace_time_zone": (
        "workload.trace_time_zone",
        (),
        "request trace: time zone of dates without an offset, like Europe/Berlin",
    ),
    "trace_time_format": ("workload.trace_time_format", (), "request trace: format of dates, as for strptime"),
    "trace_tiers": ("workload.trace_tiers", (), "request trace: classes to tiers, as chat=gold,batch=bronze,*=silver"),
}
CARBON: Options = {
    "carbon_format": ("carbon.format", (), "carbon file: name of its format"),
    "carbon_columns": ("carbon.columns", (), "carbon file: columns as time=NAME,value=NAME,zone=NAME,issued_at=NAME"),
    "carbon_time_zone": ("carbon.time_zone", (), "carbon file: time zone of dates without an offset"),
    "carbon_time_format": ("carbon.time_format", (), "carbon file: format of dates, as for strptime"),
    "carbon_interval": (
        "carbon.interval",
        ("--interval",),
        "carbon file: whether times are the start or the end of their intervals: start or end",
    ),
    "carbon_zone": ("carbon.zone", ("--zone",), "carbon file: zone to use"),
    "carbon_unit": (
        "carbon.unit",
        ("--unit",),
        "carbon file: unit of its values: g, kg, t or lb per kWh or MWh, like kg/MWh",
    ),
    "carbon_scope": ("carbon.scope", ("--scope",), "carbon file: lifecycle or direct"),
    "carbon_kind": ("carbon.kind", ("--kind",), "carbon file: average or marginal"),
}
CLOCK: Options = {
    "start": ("start", (), "date and time of t = 0 (UTC unless it has an offset)"),
    "carbon_start": ("carbon.start", (), "date in the carbon file that is t = 0 (UTC)"),
}


def option_of(field: str) -> tuple[str, ...]:
    """The option that sets this field of a scenario, and its other names; none if there is no such option."""
    for name, (own, aliases, _) in (TRACE | CARBON | CLOCK).items():  # type: ignore[operator]
        if own == field:
            return (f"--{name.replace('_', '-')}", *aliases)
    return ()


def declaring(*tables: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options to a command, which receives the given ones as `declared`: values by the scenario's field."""
    options = {name: one for table in tables for name, one in table.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_options(**given: Any) -> None:
            declared = {one[0]: value for name, one in options.items() if (value := given.pop(name)) is not None}
            command(**given, declared=declared)

        own = [one for name, one in inspect.signature(command, eval_str=True).parameters.items() if name != "declared"]
        more = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[str | None, typer.Option(f"--{name.replace('_', '-')}", *aliases, help=text)],
            )
            for name, (_, aliases, text) in options.items()
        ]
        signature = inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + more)
        with_options.__signature__ = signature  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
        return with_options

    return decorate
