"""Structured arrays with typed rows: a class lists the fields, the dtype follows, and mypy checks every access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_type_hints, overload

import numpy as np

Array = np.ndarray[Any, Any]

f8 = Annotated[float, "f8"]
i8 = Annotated[int, "i8"]
i4 = Annotated[int, "i4"]
i2 = Annotated[int, "i2"]
i1 = Annotated[int, "i1"]
u8 = Annotated[int, "u8"]
u4 = Annotated[int, "u4"]
u2 = Annotated[int, "u2"]


class Record:
    """A row of a structured array. A subclass lists its fields in order; kernels read and write them as attributes."""

    if TYPE_CHECKING:

        def __getitem__(self, field: str) -> Any: ...
        def __setitem__(self, field: str, value: Any) -> None: ...


R = TypeVar("R", bound=Record)

if TYPE_CHECKING:

    class Rows(np.ndarray[Any, Any], Generic[R]):
        """A structured array: a row by its index, a whole field by its name."""

        @overload  # type: ignore[override]
        def __getitem__(self, at: int) -> R: ...
        @overload
        def __getitem__(self, at: str | slice | Array | tuple[slice | int | Array, ...]) -> Any: ...
        def __getitem__(self, at: Any) -> Any: ...

else:

    class Rows(Generic[R]):
        """A structured array."""


def dtype_of(record: type[Record]) -> np.dtype[np.void]:
    """The aligned dtype of a record."""
    fields = get_type_hints(record, include_extras=True)
    return np.dtype([(name, kind.__metadata__[0]) for name, kind in fields.items()], align=True)


def zeros(record: type[R], *shape: int) -> Rows[R]:
    """Rows of a record, all fields 0."""
    rows: Rows[R] = np.zeros(shape, dtype_of(record))  # type: ignore[assignment]
    return rows
