"""LightGBM forests as tables: an exact sum of lookups over the thresholds that the trees use.

`interaction_constraints` keep every path of a tree inside one group of features, so the forest is a sum of functions of
one group each. A leaf is a box over the bins of its group; adding its value to that box of the group's table, leaf by
leaf, gives the forest, to the rounding of a sum. A feature's bins are the intervals between the thresholds in the
trees: a value is in the bin of the first edge that is not below it, because `value <= threshold` goes left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from caps_fast.errors import InputError
from caps_fast.records import Array

if TYPE_CHECKING:
    import lightgbm as lgb

TREES = 64
DEPTH = 6
Groups = Sequence[Sequence[int]]


def fit(
    rows: Array,
    target: Array,
    features: Sequence[str],
    groups: Groups,
    bins: Sequence[int],
    objective: str,
    **more: Any,
) -> lgb.Booster:
    """Train a forest of the paper's size whose paths stay inside the groups; `bins` is the greatest number of bins per
    feature.

    The same bits on every run: one thread, rows in order. (Two threads train no faster here, and far slower on a busy
    machine.)
    """
    import lightgbm as lgb  # noqa: PLC0415 - slow import

    parameters = {
        "objective": objective,
        "num_leaves": 2**DEPTH,
        "max_depth": DEPTH,
        "learning_rate": 0.1,
        "min_data_in_leaf": 50,
        "max_bin_by_feature": list(bins),
        "interaction_constraints": [list(group) for group in groups],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": 1,
        "verbose": -1,
        **more,
    }
    return lgb.train(parameters, lgb.Dataset(rows, target, feature_name=list(features), params=parameters), TREES)


class Tables(NamedTuple):
    """A forest as a sum of tables, together with LightGBM's own text."""

    edges: list[Array]  # by feature, float64 ascending
    groups: Groups
    tables: list[Array]  # by group, float64 (bins of its features in order)
    text: str


def tabulate(model: lgb.Booster, groups: Groups) -> Tables:
    """The forest of a LightGBM model as tables.

    Raises InputError if a tree has a categorical split, its own handling of missing values, or a path that leaves its
    group.
    """
    dump = model.dump_model()
    trees = [tree["tree_structure"] for tree in dump["tree_info"]]
    used: list[set[float]] = [set() for _ in dump["feature_names"]]
    for tree in trees:
        _gather(tree, used)
    edges = [np.array(sorted(values), np.float64) for values in used]
    tables = [np.zeros([len(edges[feature]) + 1 for feature in group]) for group in groups]
    for tree in trees:
        _pour(tree, {}, edges, groups, tables)
    return Tables(edges, groups, tables, model.model_to_string())


def _gather(node: Mapping[str, Any], used: list[set[float]]) -> None:
    """Collect the thresholds under `node` by feature."""
    if "split_feature" not in node:
        return
    if node["decision_type"] != "<=" or node["missing_type"] != "None":
        raise InputError(
            f"split {node['decision_type']!r} with missing values {node['missing_type']!r}: expected '<=' and 'None'"
        )
    used[node["split_feature"]].add(float(node["threshold"]))
    _gather(node["left_child"], used)
    _gather(node["right_child"], used)


def _pour(
    node: Mapping[str, Any], box: dict[int, tuple[int, int]], edges: list[Array], groups: Groups, tables: list[Array]
) -> None:
    """Add every leaf under `node`, whose bins are `box` (first, end by feature), to its box of its group's table."""
    if "split_feature" in node:
        feature = node["split_feature"]
        first, end = box.get(feature, (0, len(edges[feature]) + 1))
        middle = int(np.searchsorted(edges[feature], float(node["threshold"]))) + 1
        _pour(node["left_child"], {**box, feature: (first, min(middle, end))}, edges, groups, tables)
        _pour(node["right_child"], {**box, feature: (max(middle, first), end)}, edges, groups, tables)
        return
    for group, table in zip(groups, tables, strict=True):
        if box.keys() <= set(group):
            table[tuple(slice(*box[feature]) if feature in box else slice(None) for feature in group)] += node[
                "leaf_value"
            ]
            return
    raise InputError(
        f"a tree's path uses features {sorted(box)}: expected those of one group of {[list(group) for group in groups]}"
    )


def look_up(rows: Array, forest: Tables) -> Array:
    """The forest's raw output for every row, float64 (n,), like LightGBM's own: NaN counts as 0."""
    rows = np.nan_to_num(np.asarray(rows, np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    bins = [np.searchsorted(edges, rows[:, feature]) for feature, edges in enumerate(forest.edges)]
    total = np.zeros(len(rows))
    for group, table in zip(forest.groups, forest.tables, strict=True):
        total += table[tuple(bins[feature] for feature in group)]
    return total


def padded(edges: Sequence[Array]) -> Array:
    """Edges as one array for `bin_of`: float64 (features, n), padded with at least one inf."""
    found = np.full((len(edges), max(len(values) for values in edges) + 1), np.inf)
    for row, values in zip(found, edges, strict=True):
        row[: len(values)] = values
    return found
