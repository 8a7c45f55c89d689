"""A linear program built by blocks, and solved by HiGHS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from caps_fast.records import Array

INFEASIBLE = 2


@dataclass
class Program:
    """A linear program that grows by blocks of variables and rows: minimise cost . x, rows x <= or = limit, 0 <= x
    <= upper.
    """

    cost: list[Array] = field(default_factory=list)
    upper: list[Array] = field(default_factory=list)
    rows: list[tuple[Array, Array, Array]] = field(default_factory=list)
    limit: list[Array] = field(default_factory=list)
    equal: list[Array] = field(default_factory=list)
    variables: int = 0
    height: int = 0

    def add(self, upper: Array, cost: Array | float = 0.0) -> Array:
        """New variables, and their numbers."""
        self.upper.append(upper)
        self.cost.append(np.broadcast_to(np.asarray(cost, np.float64), upper.shape))
        self.variables += len(upper)
        return np.arange(self.variables - len(upper), self.variables)

    def add_rows(self, limit: Array, equal: bool) -> Array:
        """New rows, and their numbers."""
        self.limit.append(limit)
        self.equal.append(np.full(len(limit), equal))
        self.height += len(limit)
        return np.arange(self.height - len(limit), self.height)

    def set(self, rows: Array, variables: Array, factor: Array | float) -> None:
        """Factors of variables in rows, one by one."""
        self.rows.append((rows, variables, np.broadcast_to(np.asarray(factor, np.float64), rows.shape)))

    def solve(self) -> tuple[Array, float, float] | None:
        """The minimiser, the minimum, and a lower bound of it by weak duality, whatever the solver's tolerances; None
        if infeasible.
        """
        row, column, factor = (np.concatenate(part) for part in zip(*self.rows, strict=True))
        matrix = sparse.csr_array((factor, (row, column)), (self.height, self.variables))
        cost, upper, limit, equal = (np.concatenate(part) for part in (self.cost, self.upper, self.limit, self.equal))
        found = linprog(
            cost,
            A_ub=matrix[~equal],
            b_ub=limit[~equal],
            A_eq=matrix[equal],
            b_eq=limit[equal],
            bounds=np.column_stack([np.zeros(len(upper)), upper]),
            method="highs",
        )
        if found.status == INFEASIBLE:
            return None
        if found.status != 0:
            raise RuntimeError(f"HiGHS: {found.message}")
        dual = np.zeros(self.height)
        dual[equal], dual[~equal] = found.eqlin.marginals, np.minimum(found.ineqlin.marginals, 0.0)
        reduced = cost - dual @ matrix
        return found.x, float(found.fun), float(dual @ limit + np.minimum(reduced, 0.0) @ upper)
