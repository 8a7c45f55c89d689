"""Pass a NamedTuple of arrays to compiled code as one address, where Numba would pass every array as seven values.

A state is an argument of nearly every function. Passed by value it is over 200 values per call, which were most of
LLVM's input: a kernel compiles in half the time without them. After inlining nothing is left of the difference.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, StructModel, register_default
from numba.core.imputils import lower_builtin, lower_getattr, lower_getattr_generic
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic

Tuple = TypeVar("Tuple", bound=tuple[Any, ...])


def _short(*parts: Any) -> str:
    """A short name for a type made of `parts`: names of record types list all their fields, and type names are part of
    every symbol.
    """
    return hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).hexdigest()


class Items(types.Type):  # type: ignore[misc]
    """Entries of a contiguous one-dimensional array: address and number."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(f"Items_{_short(dtype)}")


class Reference(types.Type):  # type: ignore[misc]
    """The address of the fields of a NamedTuple type."""

    def __init__(self, whole: types.NamedTuple) -> None:
        self.instance_class, self.fields = whole.instance_class, whole.fields
        self.types = [_kept(each) for each in whole]
        super().__init__(f"{whole.instance_class.__name__}_{_short(*self.types)}")

    def __iter__(self) -> Any:
        return iter(self.types)

    def of(self, field: str) -> types.Type | None:
        """The type of a field."""
        return self.types[self.fields.index(field)] if field in self.fields else None


def _kept(kind: types.Type) -> types.Type:
    return Items(kind.dtype) if _is_flat(kind) else kind


def _is_flat(kind: types.Type) -> bool:
    return isinstance(kind, types.Array) and kind.ndim == 1 and kind.layout == "C"


@register_default(Items)
class _ItemsModel(StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Items) -> None:
        super().__init__(manager, kind, [("data", types.CPointer(kind.dtype)), ("length", types.intp)])


@register_default(Reference)
class _ReferenceModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Reference) -> None:
        fields = ir.LiteralStructType([manager[each].get_value_type() for each in kind])
        super().__init__(manager, kind, fields.as_pointer())


def _as_it_is(whole: Tuple) -> Tuple:
    return whole


@intrinsic
def _by_reference(context: Any, whole: Any) -> Any:
    kind = Reference(whole)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_value_type(kind).pointee)
        for at, (array, field) in enumerate(zip(whole, kind, strict=True)):
            value = builder.extract_value(arguments[0], at)
            if isinstance(field, Items):
                found, items = (
                    context.make_array(array)(context, builder, value),
                    cgutils.create_struct_proxy(field)(context, builder),
                )
                items.data, items.length = found.data, builder.extract_value(found.shape, 0)
                value = items._getvalue()
            builder.store(value, cgutils.gep_inbounds(builder, place, 0, at))
        return place

    return kind(whole), generate


# The same NamedTuple, passed by its address. A kernel creates it itself: the fields lie in the frame of the
# function that does.
by_reference: Callable[[Tuple], Tuple] = _as_it_is if numba.config.DISABLE_JIT else _by_reference


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Reference

    def generic_resolve(self, kind: Reference, field: str) -> types.Type | None:
        return kind.of(field)


@lower_getattr_generic(Reference)
def _field(context: Any, builder: Any, kind: Reference, place: Any, field: str) -> Any:
    return builder.load(cgutils.gep_inbounds(builder, place, 0, kind.fields.index(field)))


@infer_getattr
class _Shape(AttributeTemplate):  # type: ignore[misc]
    key = Items

    def resolve_shape(self, items: Items) -> types.Type:
        return types.UniTuple(types.intp, 1)


@lower_getattr(Items, "shape")
def _shape(context: Any, builder: Any, kind: Items, value: Any) -> Any:
    return cgutils.pack_array(builder, [cgutils.create_struct_proxy(kind)(context, builder, value).length])


@infer_global(len)
class _Length(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.intp, *args) if isinstance(args[0], Items) else None


@lower_builtin(len, Items)
def _length(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).length


@infer_global(operator.getitem)
class _Get(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        items, at = args
        return (
            signature(items.dtype, items, _index(at))
            if isinstance(items, Items) and isinstance(at, types.Integer)
            else None
        )


@infer_global(operator.setitem)
class _Set(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        items, at, _ = args
        return (
            signature(types.none, items, _index(at), items.dtype)
            if isinstance(items, Items) and isinstance(at, types.Integer)
            else None
        )


def _index(at: types.Integer) -> types.Type:
    return types.intp if at.signed else types.uintp


@lower_builtin(operator.getitem, Items, types.Integer)
def _get(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.unpack_value(builder, signature.return_type, _entry(context, builder, signature, args))


@lower_builtin(operator.setitem, Items, types.Integer, types.Any)
def _set(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    context.pack_value(builder, signature.args[2], args[2], _entry(context, builder, signature, args))
    return context.get_dummy_value()


def _entry(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Address of an entry. A negative index counts from the end, as with arrays."""
    items, at = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]), args[1]
    if signature.args[1].signed:
        at = builder.select(builder.icmp_signed("<", at, at.type(0)), builder.add(at, items.length), at)
    return cgutils.gep(builder, items.data, at)
