"""Arrays that lie on the device: our own, and those of other libraries without a copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import Size
from ..arrays import overlaps_itself
from . import backend
from .memory import Memory, ready

# Real types; complex numbers stay on the host.
DTYPES = tuple(map(np.dtype, ("float16", "float32", "float64", *"bhilqBHILQ")))
INDICES = (int, np.integer, slice, type(None), type(...))
KINDS = "an integer, float16, float32 or float64 array"


def c_strides(shape: Size, itemsize: int) -> Size:
    """Strides in bytes of an array in C order."""
    return tuple(math.prod(shape[i + 1 :]) * itemsize for i in range(len(shape)))


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the GPU.

    It has the shape, strides (in bytes), dtype, slicing, `reshape`, arithmetic and element-wise
    functions of a NumPy array, and goes to every operation of fastconv. Other libraries take it by
    `__cuda_array_interface__`. `copy_to_host` gives the NumPy array; nothing else copies to the
    host.

    Attributes
    ----------
    shape, strides : tuple of int
    dtype : numpy.dtype
    address : int
        Of the first element.
    """

    def __init__(self, owner: Any, address: int, shape: Size, strides: Size, dtype: Any) -> None:
        self._owner, self.address = owner, address
        self.shape, self.strides, self.dtype = tuple(shape), tuple(strides), np.dtype(dtype)
        # Indices of cells below this, where that is known: then nobody needs to look.
        self.below: int | None = None

    # --- what it is

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def reach_bytes(self) -> int:
        """Bytes from the first element to behind the highest one in memory."""
        if not self.size:
            return 0
        steps = zip(self.strides, self.shape)
        return sum(max(stride, 0) * (count - 1) for stride, count in steps) + self.itemsize

    @property
    def before_bytes(self) -> int:
        """Bytes of the array before its first element: it has some if an axis runs backwards."""
        if not self.size:
            return 0
        return sum(max(-stride, 0) * (n - 1) for stride, n in zip(self.strides, self.shape))

    @property
    def c_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        return self.size == 0 or all(
            stride == wanted or count == 1
            for stride, wanted, count in zip(
                self.strides, c_strides(self.shape, self.itemsize), self.shape
            )
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        memory = self._owner
        stream = memory.stream if isinstance(memory, Memory) else backend.current_stream()
        return {
            "shape": self.shape,
            "strides": None if self.c_contiguous else self.strides,
            "typestr": self.dtype.str,
            "data": (self.address if self.size else 0, False),
            "version": 3,
            "stream": stream.address,
        }

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("an array on the device does not become a NumPy array: use copy_to_host()")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    # --- from and to the host

    def copy_to_host(self) -> np.ndarray:
        """The values as a NumPy array in the same memory format."""
        x, order = self, memory_order(self)
        if order is None:
            x, order = contiguous(self), tuple(range(self.ndim))
        values = np.empty([x.shape[axis] for axis in order], x.dtype)
        ready(x)
        backend.copy_out(x.address, values)
        return values.transpose(np.argsort(order)) if order else values

    def copy_from_host(self, values: Any) -> None:
        """Set the values from an array of this shape."""
        source = np.asarray(values)
        if source.shape != self.shape:
            raise ValueError(f"copy_from_host: values have shape {source.shape}, not {self.shape}")
        order = memory_order(self)
        if order is None:
            self[...] = to_device("copy_from_host", "values", source.astype(self.dtype))
        else:
            ready(self)
            backend.copy_in(self.address, source.astype(self.dtype, order="C").transpose(order))

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: an array of shape {self.shape} has not one element")
        return self.copy_to_host().item()

    # --- views and copies

    def _view(self, address: int, shape: Size, strides: Size) -> DeviceArray:
        return DeviceArray(self._owner, address, shape, strides, self.dtype)

    def transpose(self, *axes: Any) -> DeviceArray:
        """The axes in another order, the last first if none is given."""
        given = axes[0] if len(axes) == 1 and np.iterable(axes[0]) else axes
        order = tuple(given) or tuple(range(self.ndim))[::-1]
        shape, strides = ([of[axis] for axis in order] for of in (self.shape, self.strides))
        return self._view(self.address, tuple(shape), tuple(strides))

    @property
    def T(self) -> DeviceArray:
        """The axes in reverse order."""
        return self.transpose()

    def reshape(self, *shape: Any) -> DeviceArray:
        """The elements, in C order, in another shape; a view if they lie in that order."""
        sizes = list(shape[0] if len(shape) == 1 and np.iterable(shape[0]) else shape)
        if sizes.count(-1) == 1:
            known = math.prod(size for size in sizes if size != -1)
            sizes[sizes.index(-1)] = self.size // known if known else 0
        if math.prod(sizes) != self.size:
            raise ValueError(f"reshape: {self.size} elements do not fit shape {tuple(sizes)}")
        x = contiguous(self)
        return x._view(x.address, tuple(sizes), c_strides(tuple(sizes), x.itemsize))

    def __getitem__(self, index: Any) -> DeviceArray:
        parts = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(part, INDICES) for part in parts):
            raise TypeError("an array on the device takes integers, slices, None and ... as index")
        # A NumPy array of one byte, stretched to our strides, does the arithmetic.
        model = np.lib.stride_tricks.as_strided(
            np.zeros(1, np.uint8), self.shape, self.strides, writeable=False
        )
        view = model[parts if ... in parts else (*parts, ...)]
        start = view.__array_interface__["data"][0] - model.__array_interface__["data"][0]
        if not view.size:
            start = 0
        return self._view(self.address + start, view.shape, view.strides)

    def __setitem__(self, index: Any, values: Any) -> None:
        from .elementwise import assign

        assign(self[index], values)

    def copy(self) -> DeviceArray:
        """A copy in the same memory format."""
        from .elementwise import assign

        fresh = empty_like(self)
        assign(fresh, self)
        return fresh

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        """The values in another dtype."""
        if self.dtype == dtype and not copy:
            return self
        from .elementwise import assign

        fresh = empty_like(self, dtype)
        assign(fresh, self)
        return fresh

    # --- arithmetic

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        from .elementwise import call_ufunc

        return call_ufunc(ufunc, method, inputs, options)

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> DeviceArray:
        """Sums over axes; float16 is summed in float32."""
        from .reductions import total

        return total(self, axis, dtype, keepdims)


def memory_order(x: DeviceArray) -> Size | None:
    """The axes from the slowest to the fastest, if the elements lie without gaps."""
    order = tuple(sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], axis)))
    shape = tuple(x.shape[axis] for axis in order)
    wanted = c_strides(shape, x.itemsize)
    dense = all(x.strides[a] == w or x.shape[a] == 1 for a, w in zip(order, wanted))
    return order if dense or not x.size else None


def new_array(shape: Size, strides: Size, dtype: Any) -> DeviceArray:
    """An uninitialised array without gaps."""
    dtype = np.dtype(dtype)
    memory = Memory(math.prod(shape) * dtype.itemsize)
    return DeviceArray(memory, memory.address, shape, strides, dtype)


def empty(shape: Size, dtype: Any, channels_last: bool = False) -> DeviceArray:
    """An uninitialised (N, C, *spatial) array in a memory format."""
    itemsize = np.dtype(dtype).itemsize
    if not channels_last:
        return new_array(shape, c_strides(shape, itemsize), dtype)
    batch, channels, *spatial = shape
    first, *middle, last = c_strides((batch, *spatial, channels), itemsize)
    return new_array(shape, (first, last, *middle), dtype)


def empty_like(x: DeviceArray, dtype: Any = None) -> DeviceArray:
    """An uninitialised array of the shape and memory order of `x`."""
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    order = memory_order(x) or tuple(range(x.ndim))
    fresh = empty(tuple(x.shape[axis] for axis in order), dtype)
    return fresh.transpose(*np.argsort(order).tolist()) if order else fresh


def zeros(shape: Size, dtype: Any, channels_last: bool = False) -> DeviceArray:
    """An array of zeros in a memory format."""
    from .elementwise import assign

    x = empty(shape, dtype, channels_last)
    assign(x, 0)
    return x


def contiguous(x: DeviceArray) -> DeviceArray:
    """`x` in C order, itself if it lies so."""
    if x.c_contiguous:
        return x
    fresh = empty(x.shape, x.dtype)
    fresh[...] = x
    return fresh


def is_channels_last(x: DeviceArray) -> bool:
    """As `fastconv.arrays.is_channels_last`."""
    if x.c_contiguous or x.strides[1] != x.itemsize:
        return False
    return moved(x, 1, -1).c_contiguous


def moved(x: DeviceArray, source: int, target: int) -> DeviceArray:
    """One axis at another place, as `numpy.moveaxis`."""
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(target % x.ndim, source % x.ndim)
    return x.transpose(*order)


def formatted(x: DeviceArray, channels_last: bool) -> DeviceArray:
    """`x` in a memory format, itself if it has it."""
    return moved(contiguous(moved(x, 1, -1)), -1, 1) if channels_last else contiguous(x)


def overlap(a: DeviceArray, b: DeviceArray) -> bool:
    """Whether the address ranges of two arrays meet."""
    (low, high), (first, last) = (
        (x.address - x.before_bytes, x.address + x.reach_bytes) for x in (a, b)
    )
    return bool(a.size and b.size) and low < last and first < high


# --- From outside ---


def as_operand(op: str, name: str, value: Any) -> DeviceArray:
    """An array of any CUDA library as a `DeviceArray` on the same memory.

    Copied if it runs backwards, as kernels read forwards only. What was launched on its stream is
    waited for on ours. Raises TypeError for dtypes that are not supported.
    """
    x = _shown(op, name, value)
    return x.copy() if min(x.strides, default=0) < 0 else x


def _shown(op: str, name: str, value: Any) -> DeviceArray:
    """A `DeviceArray` on the memory of any library's array."""
    if type(value) is DeviceArray:
        return value
    backend.require_device()
    interface = value.__cuda_array_interface__
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if dtype not in DTYPES or not dtype.isnative:
        raise TypeError(f"{op}: {name} must be {KINDS} to be on the device, not {dtype}")
    strides = interface.get("strides") or c_strides(shape, dtype.itemsize)
    if any(stride % dtype.itemsize for stride in strides):
        raise TypeError(f"{op}: {name} is not aligned to its dtype {dtype}: strides {strides}")
    backend.wait_for(interface.get("stream"))
    return DeviceArray(value, interface["data"][0], shape, strides, dtype)


def to_device(op: str, name: str, value: Any) -> DeviceArray:
    """A host array copied to the device, its memory format kept."""
    if hasattr(value, "__cuda_array_interface__"):
        return as_operand(op, name, value)
    backend.require_device()
    x = np.asarray(value)
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if x.dtype not in DTYPES:
        raise TypeError(f"{op}: {name} must be {KINDS} to be on the device, not {x.dtype}")
    order = sorted(range(x.ndim), key=lambda axis: (-abs(x.strides[axis]), axis))
    dense = np.asarray(x.transpose(order), order="C")  # which leaves a number without axes
    fresh = empty(dense.shape, x.dtype)
    backend.copy_in(fresh.address, dense)
    return fresh.transpose(*np.argsort(order).tolist()) if order else fresh


def check_out(op: str, out: Any, shape: Size, dtype: np.dtype, *inputs: Any) -> DeviceArray:
    """`out` as a `DeviceArray`, if it can take the result."""
    if not hasattr(out, "__cuda_array_interface__"):
        raise TypeError(f"{op}: out must be an array on the device, not {type(out).__name__}")
    target = _shown(op, "out", out)
    if target.shape != shape:
        raise ValueError(f"{op}: out has shape {target.shape}, the result has shape {shape}")
    if target.dtype != dtype:
        raise ValueError(f"{op}: out has dtype {target.dtype}, the result has dtype {dtype}")
    if out.__cuda_array_interface__["data"][1]:
        raise ValueError(f"{op}: out is read-only")
    if any(x is not None and overlap(target, x) for x in inputs):
        raise ValueError(f"{op}: out overlaps an input")
    if overlaps_itself(target):
        raise ValueError(f"{op}: elements of out share memory (strides {target.strides})")
    return target
