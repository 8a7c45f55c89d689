"""Checks before any work of what scenarios name: policies, grids and forecasts, traces, demand, models."""

from __future__ import annotations

from collections.abc import Iterable

from caps_fast.carbon.monitor import monitors_of
from caps_fast.choose import check_options, make_policy
from caps_fast.predictor import expect_predictable, load
from caps_fast.scenario import Scenario
from caps_fast.workload import workload_of


def expect_inputs(configs: Iterable[Scenario]) -> None:
    """Build everything that the scenarios name, once each. Raises InputError for unusable input."""
    tried = list(configs)
    check_options({str((config.policy.name, config.policy.options)): config for config in tried}.values())
    for config in {str((config.fleet.regions, config.days)): config for config in tried}.values():
        monitors_of(config)
    for config in {config.workload.trace: config for config in tried if config.workload.trace}.values():
        workload_of(config)
    for config in {
        config.workload.model_dump_json(): config for config in tried if not config.workload.is_steady
    }.values():
        workload_of(config)
    for config in tried:
        if config.workload.has_sessions:
            expect_predictable(make_policy(config), config)
    for path in {config.predictor.model for config in tried if config.predictor.model}:
        load(path)
