"""The state of a model as arrays by name, in memory and in safetensors files."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.device import on_device, on_host

if TYPE_CHECKING:
    from fastconv.nn.layer import Array, Layer


def state_dict(layer: Layer) -> dict[str, Array]:
    """Copies of all parameters and buffers of `layer`, by PyTorch's names.

    They are copies, so a dictionary that was kept as the best model so far does not follow the
    training.
    """
    return {
        name: on_host(array) if on_device(array) else array.copy()
        for name, array in layer.named_arrays()
    }


def load_state_dict(
    layer: Layer, arrays: Mapping[str, Any], strict: bool = True
) -> tuple[list[str], list[str]]:
    """Copy arrays by name into the parameters and buffers of `layer`, converted to their dtype.

    Parameters
    ----------
    layer : Layer
        Changed only if everything fits.
    arrays : mapping of str to array_like
        As `state_dict` gives it; the tensors of a PyTorch ``state_dict`` will do.
    strict : bool, default True
        False leaves out what is missing and ignores what is unexpected. Shapes must fit in any
        case.

    Returns
    -------
    missing, unexpected : list of str
        Names that only the layer, and only `arrays`, has.

    Raises
    ------
    ValueError
        If a shape differs or, under `strict`, a name is missing or unexpected. The message lists
        them all.
    TypeError
        If an array cannot be cast to the dtype of its target, as complex to real.

    Examples
    --------
    >>> from fastconv import nn
    >>> layer = nn.Linear(2, 1)
    >>> layer.load_state_dict({"weight": [[3.0, 4.0]]}, strict=False)
    (['bias'], [])
    >>> layer.weight.data
    array([[3., 4.]], dtype=float32)
    """
    targets: dict[str, Any] = dict(layer.named_arrays())
    missing = [name for name in targets if name not in arrays]
    unexpected = [name for name in arrays if name not in targets]
    sources = {name: np.asarray(on_host(arrays[name])) for name in targets if name in arrays}
    problems = [
        f"shape of {name}: {source.shape} given, {targets[name].shape} in the model"
        for name, source in sources.items()
        if source.shape != targets[name].shape
    ]
    if strict and missing:
        problems.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected: {', '.join(unexpected)}")
    if problems:
        raise ValueError(
            "\n  ".join(["load_state_dict: the arrays do not fit the model", *problems])
        )
    for name, source in sources.items():
        if not np.can_cast(source.dtype, targets[name].dtype, "same_kind"):
            raise TypeError(
                f"load_state_dict: {name} is {source.dtype} and cannot become {targets[name].dtype}"
            )
    for name, source in sources.items():
        if on_device(targets[name]):
            targets[name].copy_from_host(source)
        else:
            np.copyto(targets[name], source, casting="same_kind")
    for parameter in layer.parameters():
        parameter.touch()
    return missing, unexpected


def save(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the state of `layer` to the safetensors file `path`.

    The file is written beside `path` under another name and then moved, so that a crash leaves the
    old file or the new one.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be written.
    """
    write(path, dict(layer.named_arrays()), {})


def load(
    layer: Layer, path: str | os.PathLike[str], strict: bool = True
) -> tuple[list[str], list[str]]:
    """Read the state of `layer` from the safetensors file `path`, by `load_state_dict`.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no safetensors file, or does not fit the model.
    """
    arrays, _ = read(path)
    return load_state_dict(layer, arrays, strict)


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: dict[str, str]
) -> None:
    """Write arrays and texts to a safetensors file, replacing it at once or not at all."""
    target = Path(path)
    # safetensors writes the memory of an array as it lies, so each must be contiguous.
    dense = {name: np.asarray(on_host(array), order="C") for name, array in arrays.items()}
    content = _safetensors().save(dense, metadata=metadata or None)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and texts of a safetensors file; ValueError if it is none."""
    safetensors = _safetensors()
    content = Path(path).read_bytes()
    try:
        arrays = safetensors.load(content)
        # The file begins with the length of its JSON header, whose one entry of texts this is.
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # its reader raises several types, one of them its own
        raise ValueError(f"load: {path} cannot be read as a safetensors file: {error}") from error
    return arrays, metadata


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'saving and loading models needs safetensors: pip install "fastconv[examples]"'
        ) from error
    return safetensors.numpy
