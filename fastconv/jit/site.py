"""The machine code of one call of a door within a user's function, as small as it can be.

It gathers the words that describe the call, has the recipe looked up (or made, the first time),
allocates the results and has the recipe performed. Nothing of the engine is in it: a function of
a user compiles quickly, and one that was cached calls the kernels of the fastconv that is there.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.callconv import GENERIC_POINTER, CPUCallConv
from numba.core.compiler import Flags
from numba.extending import intrinsic
from numba.np import arrayobj

from ..cpu.fused import kernel_source
from ..cpu.recipe import (
    A_KIND,
    A_LENGTH,
    A_RECIPE,
    A_TEXT,
    FIND,
    MEMORY_ERROR,
    NO_FAILURE,
    NONE,
    PREPARE,
    R_PERFORM,
    R_RESULTS_AT,
    TYPE_ERROR,
    VALUE_ERROR,
)
from .table import SYMBOL, stamp

i8, i32, i64, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
KERNEL = ir.FunctionType(ir.VoidType(), [pointer] + [i64] * 5)
MAKER = ir.FunctionType(ir.VoidType(), [i64] * 6)

_RAISED = ((VALUE_ERROR, ValueError), (TYPE_ERROR, TypeError), (MEMORY_ERROR, MemoryError))


def call_site(op: str, description: Any, results: list[Any], out: bool) -> Any:
    """An intrinsic that takes the run-time arguments as a tuple and returns what the door returns.

    `description` is handed to whoever makes the recipe; `results` are the Numba types of new
    arrays. If `out`, the last argument takes the first result, which is not among `results`.
    """
    text = json.dumps(description).encode()

    @intrinsic
    def call(typing: Any, arguments: Any) -> Any:
        returned = [arguments[-1], *results] if out else results
        result = returned[0] if len(returned) == 1 else types.Tuple(returned)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            site = _Site(context, builder, op, text)
            if any(isinstance(kind, types.Dispatcher) for kind in arguments):
                # A caller hands over the address of an epilogue's dispatcher, and with an address
                # in it would not be cached; within the caller it is not used and goes.
                builder.function.attributes.add("alwaysinline")
            values = cgutils.unpack_tuple(builder, args[0])
            for kind, value in zip(arguments, values):
                if isinstance(kind, types.Dispatcher):
                    _, form = next(row for row in description["arguments"] if row[0] == "epilogue")
                    site.add_epilogue(kind.dispatcher, *form[1:])
                else:
                    site.add(kind, value)
            made = site.run(results, site.last_overlaps() if out else None)
            if out:
                context.nrt.incref(builder, arguments[-1], values[-1])
                made.insert(0, values[-1])
            return made[0] if len(made) == 1 else context.make_tuple(builder, result, made)

        return result(arguments), generate

    return call


class _Texts(CPUCallConv):
    """Exceptions whose one argument is a text in UTF-8, given as its address and length.

    Numba's own way to make such an argument asks for the environment of the function that raises,
    which one that was called by a function out of a cache does not have.
    """

    def emit_unwrap_dynamic_exception_fn(self, module: Any, st_type: Any, nb_types: Any) -> Any:
        """The function that makes the arguments; it is called under the GIL."""
        name = "fastconv_text"
        if name in module.globals:
            return module.globals[name]
        kind = ir.FunctionType(GENERIC_POINTER, [GENERIC_POINTER])
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        python = self.context.get_python_api(builder)
        python.err_clear()  # of an earlier iteration: Numba goes on with those of a ``prange``
        words = builder.bitcast(function.args[0], st_type.as_pointer())
        address, length = cgutils.unpack_tuple(
            builder, builder.extract_value(builder.load(words), 0), 2
        )
        self.context.nrt.free(builder, function.args[0])
        decode = cgutils.get_or_insert_function(
            module, ir.FunctionType(GENERIC_POINTER, [i64, i64]), "PyUnicode_FromStringAndSize"
        )
        builder.ret(python.tuple_pack([builder.call(decode, [address, length])]))
        return function


class _Site:
    """The words and addresses of a call, and the code that uses them."""

    def __init__(self, context: Any, builder: Any, op: str, text: bytes) -> None:
        self.context, self.builder, self.op, self.text = context, builder, op, text
        digest = int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)
        self.words, self.addresses = [i64(stamp()), i64(digest)], list[Any]()
        self.extents: list[tuple[Any, Any]] = []

    def add(self, kind: Any, value: Any) -> None:
        """The words of an argument, in the order of `words.form_of`."""
        b = self.builder
        if isinstance(kind, (types.NoneType, types.StringLiteral, types.BooleanLiteral)):
            return
        kind = types.unliteral(kind)
        if isinstance(kind, types.Array):
            array = self.context.make_array(kind)(self.context, b, value)
            shape = cgutils.unpack_tuple(b, array.shape, kind.ndim)
            strides = cgutils.unpack_tuple(b, array.strides, kind.ndim)
            self.words += [*shape, *strides]
            self.addresses.append(b.ptrtoint(array.data, i64))
            self.extents.append(self._extent(array.itemsize, shape, strides))
        elif isinstance(kind, types.BaseTuple):
            for member, part in zip(kind, cgutils.unpack_tuple(b, value)):
                self.add(member, part)
        elif isinstance(kind, types.Boolean):
            self.words.append(b.zext(value, i64))
        elif isinstance(kind, types.Integer):
            self.words.append(self.context.cast(b, value, kind, types.int64))
        else:
            wide = self.context.cast(b, value, kind, types.float64)
            self.words.append(b.bitcast(wide, i64))

    def add_epilogue(self, function: Any, parameters: int, dtype: str) -> None:
        """The address of a kernel that is compiled into the user's function."""
        b, context = self.builder, self.context
        numbers = [types.int64] * 5
        signature = types.void(types.CPointer(getattr(types, dtype)), *numbers)
        flags = Flags()
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.error_model = "numpy"
        source = kernel_source(function, parameters)
        made = context.compile_subroutine(b, source, signature, flags=flags)
        kernel = ir.Function(b.module, KERNEL, f"epilogue.{made.fndesc.mangled_name}")
        kernel.linkage = "internal"
        body = ir.IRBuilder(kernel.append_basic_block())
        arguments = [body.bitcast(kernel.args[0], context.get_value_type(signature.args[0]))]
        context.call_internal_no_propagate(
            body, made.fndesc, signature, [*arguments, *kernel.args[1:]]
        )
        body.ret_void()
        self.words.append(b.ptrtoint(kernel, i64))

    def _extent(self, size: Any, shape: Any, strides: Any) -> tuple[Any, Any]:
        """The first byte of the array that was added last, and one past its last."""
        b, low, high = self.builder, self.addresses[-1], self.builder.add(self.addresses[-1], size)
        for count, stride in zip(shape, strides):
            reach = b.mul(b.sub(count, i64(1)), stride)
            negative = b.icmp_signed("<", reach, i64(0))
            low = b.add(low, b.select(negative, reach, i64(0)))
            high = b.add(high, b.select(negative, i64(0), reach))
        return low, high

    def last_overlaps(self) -> Any:
        """Whether the memory of the array that was added last meets that of another."""
        b, meets = self.builder, ir.IntType(1)(0)
        own_low, own_high = self.extents[-1]
        for low, high in self.extents[:-1]:
            begins, ends = b.icmp_signed("<", low, own_high), b.icmp_signed("<", own_low, high)
            meets = b.or_(meets, b.and_(begins, ends))
        return meets

    def run(self, results: list[Any], suspicious: Any) -> list[Any]:
        """Look the recipe up, allocate results of these types, perform it; returns the results.

        If `suspicious`, it is not looked up: whoever makes recipes is to look at the call itself.
        """
        b = self.builder
        key, count = self._table(self.words), i64(len(self.words))
        # Scratch memory becomes one base more.
        bases = self._table([*self.addresses, *[i64(0)] * (len(results) + 1)])
        answer = self._table([i64(word) for word in (0, NONE, NO_FAILURE, 0, 0)])
        state = self._shared_words()
        finder = self._word(state, FIND)
        asked = b.icmp_signed("!=", finder, i64(0))
        if suspicious is not None:
            asked = b.and_(asked, b.not_(suspicious))
        with b.if_then(asked):
            places = [self._address(table) for table in (state, answer, key)]
            self._call(finder, [*places, count])
        unknown = b.icmp_signed("==", self._word(answer, A_RECIPE), i64(0))
        with b.if_then(unknown, likely=False):
            text = cgutils.global_constant(b, "fastconv_call", cgutils.make_bytearray(self.text))
            maker = b.inttoptr(self._word(state, PREPARE), MAKER.as_pointer())
            arguments = [b.ptrtoint(text, i64), i64(len(self.text)), self._address(key), count]
            b.call(maker, [*arguments, self._address(bases), self._address(answer)])
            self._raise(answer)
        recipe = self._word(answer, A_RECIPE)
        table = b.inttoptr(self._word(b.inttoptr(recipe, pointer), R_RESULTS_AT), pointer)
        made, at = [], 0
        for index, kind in enumerate(results):
            made.append(self._allocate(kind, table, at))
            data = b.ptrtoint(made[-1].data, i64)
            b.store(data, self._cell(bases, len(self.addresses) + index))
            at += 1 + 2 * kind.ndim
        performer = self._word(b.inttoptr(recipe, pointer), R_PERFORM)
        self._call(performer, [recipe, self._address(bases), self._address(answer)])
        self._raise(answer)
        return [array._getvalue() for array in made]

    def _allocate(self, kind: Any, table: Any, at: int) -> Any:
        """An array as a row of the table of results says: bytes, shape, strides."""
        b, n = self.builder, kind.ndim
        numbers = [self._word(table, at + i) for i in range(1 + 2 * n)]
        memory = self.context.nrt.meminfo_alloc_aligned(b, numbers[0], 64)
        array = self.context.make_array(kind)(self.context, b)
        arrayobj.populate_array(
            array,
            data=b.bitcast(self.context.nrt.meminfo_data(b, memory), array.data.type),
            shape=numbers[1 : 1 + n],
            strides=numbers[1 + n :],
            itemsize=self.context.get_abi_sizeof(self.context.get_data_type(kind.dtype)),
            meminfo=memory,
        )
        return array

    def _raise(self, answer: Any) -> None:
        """Raise what an answer tells of, if anything."""
        b = self.builder
        kind = self._word(answer, A_KIND)
        with b.if_then(b.icmp_signed("!=", kind, i64(NO_FAILURE)), likely=False):
            text = cgutils.pack_array(b, [self._word(answer, A_TEXT), self._word(answer, A_LENGTH)])
            for number, error in _RAISED:
                with b.if_then(b.icmp_signed("==", kind, i64(number))):
                    self._raise_as(error, text)
            self._raise_as(RuntimeError, text)

    def _raise_as(self, error: type[Exception], text: Any) -> None:
        _Texts(self.context).return_dynamic_user_exc(
            self.builder, error, (text,), (None,), func_name=self.op
        )

    # --- Memory ---

    def _shared_words(self) -> Any:
        """The words of `table`, which the linker finds by their name."""
        known = self.builder.module.globals.get(SYMBOL)
        words = known or cgutils.add_global_variable(self.builder.module, i64, SYMBOL)
        return self._opaque(words)

    def _opaque(self, typed: Any) -> Any:
        return self.builder.inttoptr(self.builder.ptrtoint(typed, i64), pointer)

    def _table(self, numbers: list[Any]) -> Any:
        """Words on the stack."""
        kind = ir.ArrayType(i64, len(numbers))
        table = self._opaque(cgutils.alloca_once(self.builder, kind))
        for index, number in enumerate(numbers):
            self.builder.store(number, self._cell(table, index))
        return table

    def _cell(self, table: Any, index: int) -> Any:
        return self.builder.gep(table, [i64(index)], source_etype=i64)

    def _word(self, table: Any, index: int) -> Any:
        return self.builder.load(self._cell(table, index), typ=i64)

    def _address(self, table: Any) -> Any:
        return self.builder.ptrtoint(table, i64)

    def _call(self, address: Any, numbers: list[Any]) -> None:
        """Call a kernel."""
        padded = [*numbers, *[i64(0)] * (5 - len(numbers))]
        function = self.builder.inttoptr(address, KERNEL.as_pointer())
        self.builder.call(function, [pointer(None), *padded])
