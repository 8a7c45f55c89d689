"""The predictor of CAPS: output length and SLO risk, learned with LightGBM and tabulated for the kernel
(docs/predictor.md).

`predictor_of(scenario)` gives the model that a run uses: the file that it names, or one trained on demand and cached
under a hash of its inputs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from caps_fast import _jit, scenario
from caps_fast.caches import WAY_OUT, cache_folder, tell_once
from caps_fast.clock import told_start
from caps_fast.clock_levels import at_clock
from caps_fast.clock_section import CLOCK_FIELDS
from caps_fast.errors import InputError
from caps_fast.policy import TRAITS
from caps_fast.predictor.length import LengthModel, Lengths
from caps_fast.predictor.store import Model, load, save
from caps_fast.records import Array
from caps_fast.replica_section import STATE_FIELDS
from caps_fast.workload import drawn_workload
from caps_fast.workload.ahead import expect_requests_ahead
from caps_fast.workload.tasks import task_of_prompt

__all__ = [
    "LengthModel",
    "Lengths",
    "Model",
    "load",
    "predictor_of",
    "save",
    "task_of_prompt",
    "train_model",
    "warmup_requests",
    "with_predictions",
]

PART = "predictors"  # of cached files
BLOCK = 16_384
PAST_REQUESTS = 100_000  # length of the histories before t = 0
logger = logging.getLogger(__name__)
_training = Lock()
_at_hand: dict[str, Model] = {}


def with_predictions(policy: Any, config: scenario.Scenario) -> tuple[Any, LengthModel | None]:
    """The policy with the learned risk in its field `learned`, and the model of the lengths that it sees.

    This holds for policies with a field `predicts` that is not 0; for others, or with `predictor.source` "declared",
    the policy unchanged and None. Raises InputError for a bad model file.
    """
    if not _learns(policy, config):
        return policy, None
    expect_predictable(policy, config)
    tiered = bool(getattr(policy, "tiered", 1))
    if TRAITS[type(policy)].like:
        config = config.replace({"policy.placement": TRAITS[type(policy)].like})
    model = predictor_of(config, tiered)
    if "learned" in policy._fields:
        policy = policy._replace(learned=model.risks["tiers" if tiered else "no-tiers"].arrays())
    return policy, model.length


def _learns(policy: Any, config: scenario.Scenario) -> bool:
    return config.predictor.source == "learned" and bool(getattr(policy, "predicts", 0))


def expect_predictable(policy: Any, config: scenario.Scenario) -> None:
    """Raise InputError where the policy is to see learned lengths of requests that come after answers."""
    if _learns(policy, config):
        expect_requests_ahead(config, "lengths cannot be predicted ahead in blocks: expected predictor.source declared")


def predictor_of(config: scenario.Scenario, tiered: bool = True) -> Model:
    """The model for a run, with the risk of tiers by their own limits, or (`tiered` False) by the mean limits.

    Raises InputError for a bad model file.
    """
    name = "tiers" if tiered else "no-tiers"
    with _training:
        if config.predictor.model is None:
            return _cached(key_of(config, name), lambda: _trained(config, (name,)))
        path = config.predictor.model
        key = f"{path} {scenario.file_hash(path)}"
        if key not in _at_hand:
            _at_hand[key] = load(path)
        model = _at_hand[key]
    if name not in model.risks:
        raise InputError(f"{path}: no risk model for {name}: expected one of a model written by caps-fast train")
    return model


def expect_trainable(config: scenario.Scenario) -> None:
    """Raise InputError where requests come after answers, so that there are none to train on."""
    expect_requests_ahead(
        config, "their requests are not known ahead for training: expected a workload without sessions"
    )


def train_model(config: scenario.Scenario) -> Model:
    """A model with both risks, as `caps-fast train` writes it."""
    expect_trainable(config)
    with _training:
        return _cached(key_of(config, "tiers no-tiers"), lambda: _trained(config, ("tiers", "no-tiers")))


def warmup_requests(config: scenario.Scenario) -> Iterator[Array]:
    """The run's own requests shortly before t = 0, with which its tenants' histories begin; none if a trace is
    replayed.
    """
    if config.workload.trace is not None:
        return iter(())
    rate_rps = config.workload.rate_rps or 1.0
    seconds = min(config.predictor.train_days * 86400.0, PAST_REQUESTS / rate_rps)
    return drawn_workload(config, start_s=-seconds, end_s=0.0).blocks(BLOCK)


def key_of(config: scenario.Scenario, risks: str = "") -> str:
    """Hash of everything that a model depends on, which excludes the seed, the rate, the horizon, the policy's weights
    and the grid. Without `risks`, of what only the lengths depend on.
    """
    depends = _shape(config)
    depends["shares"] = [tier.share for tier in config.slo.all]
    if config.workload.trace:
        depends["trace"] = scenario.file_hash(config.workload.trace)
        depends["dated"] = config.start is not None
    elif not config.workload.is_steady:
        depends["demand"] = [told_start(config), {path: scenario.file_hash(path) for path in config.workload.files}]
    if risks:
        depends |= {**_service(config), "risks": risks}
    own = sorted(Path(__file__).parent.glob("*.py")) + sorted(Path(_jit.PACKAGE, "workload").glob("*.py"))
    depends["versions"] = [_jit.source_hash(*own), version("lightgbm"), version("numpy")]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def folder() -> Path | None:
    """Folder of trained models, next to the compiled kernels; None if they are not cached."""
    return cache_folder(PART)


def _trained(config: scenario.Scenario, risks: tuple[str, ...]) -> Model:
    from caps_fast.predictor import train  # noqa: PLC0415 - only where a model is trained

    learned, trace = config.predictor, config.workload.trace
    past = f"the first {learned.train_share:.0%} of {trace}" if trace else f"{learned.train_days:g} days before t = 0"
    logger.info("predictor: learning from %s", past)
    lessons = train.lessons_of(config)

    def lengths() -> Model:
        logger.info("predictor: learning output lengths from %s requests", f"{len(lessons.rows):,}")
        model, scores = train.train_length(lessons)
        return Model(model, {}, {"length": scores}, _shape(config))

    base = _cached(key_of(config), lengths)
    found, scores = {}, dict(base.scores)
    for name in risks:
        logger.info("predictor: exploring, to learn the SLO risk%s", " without tiers" if name == "no-tiers" else "")
        found[name], scores[name] = train.train_risk(config, base.length, lessons, name == "tiers")
    return Model(base.length, found, scores, {**base.trained_on, **_service(config)})


def _shape(config: scenario.Scenario) -> dict[str, Any]:
    """The fields that output lengths depend on."""
    workload = config.workload.model_dump(mode="json", exclude={"rate_rps", "trace_fit"})
    return {"workload": workload, "predictor": config.predictor.model_dump(mode="json", exclude={"source", "model"})}


def _service(config: scenario.Scenario) -> dict[str, Any]:
    """The fields that a request's outcome in a pool depends on as well."""
    unseen = {"idle_w", "peak_w", "power_exponent", "gpus_per_replica", "profile", *STATE_FIELDS, *CLOCK_FIELDS}
    kinds = [
        at_clock(kind, pool.clock or 1.0) for pool, kind in zip(config.fleet.pools, config.fleet.kind_of, strict=True)
    ]
    pools = [
        (pool.role, pool.replicas, kind.model_dump(mode="json", exclude=unseen))
        for pool, kind in zip(config.fleet.pools, kinds, strict=True)
    ]
    parts = {"pools": pools, "placement": config.policy.placement, "slo": config.slo.model_dump(mode="json")}
    return {**parts, "control_step_s": config.control_step_s}


def _cached(key: str, make: Callable[[], Model]) -> Model:
    """The model cached under `key`, in memory or on disk, or else a new one, which is then cached.

    A damaged file is replaced.
    """
    if key in _at_hand:
        return _at_hand[key]
    place = folder()
    if place is None:
        model = make()
        tell_once("the predictor is", PART)
        return _at_hand.setdefault(key, model)
    path, kept = place / f"{key}.npz", None
    if path.exists():
        try:
            kept = load(path)
        except InputError as error:
            logger.warning("predictor: %s; training it again", error)
    if kept is None:
        kept = make()
        try:
            save(kept, path)
        except InputError as error:
            logger.warning("predictor: not cached, %s (%s)", error, WAY_OUT)
    return _at_hand.setdefault(key, kept)
