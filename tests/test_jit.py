"""How kernels are compiled: inlined functions once each, on one piece of frame memory."""

from __future__ import annotations

import inspect

import numba
import numpy as np
import pytest

from caps_fast._jit import inlined, kernel, on_one_stack


@inlined
def add_one(number):
    return number + 1


@kernel
def sum_up(narrow, counts, wide, reals):
    """Calls with a constant and with whole numbers of several widths, and with a real number."""
    return add_one(5) + add_one(narrow[0]) + add_one(counts[0]) + add_one(wide[0]), add_one(reals[0])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_an_inlined_function_is_compiled_once_for_all_whole_numbers():
    whole, real = sum_up(np.array([-3], np.int8), np.array([2**32 - 1], np.uint32), np.array([2**40]), np.array([0.5]))
    assert (whole, real) == (6 - 2 + 2**32 + 2**40 + 1, 1.5)
    assert [str(signature.args) for signature in add_one.nopython_signatures] == ["(int64,)", "(float64,)"]


@inlined
def add_two(number):
    return min(add_one(number), number + 3) + 1


@numba.njit
def add_four(number):
    return add_two(add_two(number))


@kernel
def add_six(numbers):
    return add_four(numbers[0]) + add_two(0)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_functions_that_numba_compiles_call_inlined_ones_and_are_called():
    assert add_six(np.array([3])) == 9
    assert add_four(1) == 5
    assert add_two.overloads[(numba.int64,)].library.get_pointer_to_function("any") == 0


def test_one_stack_hands_on_what_comes_back():
    assert on_one_stack(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        on_one_stack(divmod, 17, 0)


def test_frames_on_one_stack_may_be_many():
    def depth(levels: int) -> int:
        return levels and 1 + depth(levels - 1)

    levels = 900 - len(inspect.stack())
    assert on_one_stack(depth, levels) == levels
