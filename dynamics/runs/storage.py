"""Write files, arrays and zarr groups whole, so that no reader sees half of one."""

import contextlib
import json
import os
import pathlib
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dynamics.config import ConfigError

Arrays = dict[str, tuple[tuple[str, ...], Any]]  # {name: (dimension names, values)}
Rows = dict[str, Any]  # {name: numpy array}


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as partial:
        partial.write_text(text)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to; at the end its file replaces `path`, or is deleted if there was an error."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def folder_beside(path: pathlib.Path) -> pathlib.Path:
    """A free place beside `path`, for a folder that is renamed to `path` when it is complete.

    What a killed process with the same number has left there is removed: containers give the same numbers again.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def json_text(content: Any) -> str:
    """Plain values as write_json writes them."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write plain values as JSON, completely or not at all."""
    write_text(path, json_text(content))


def overwrite_json(path: pathlib.Path, content: Any) -> None:
    """Write as write_json does; on a full disk, which has no room for a second file, write into the old file."""
    try:
        write_json(path, content)
    except OSError:
        with path.open("r+") as file:
            file.write(json_text(content))
            file.truncate()


def write_rows(path: pathlib.Path, rows: Rows) -> None:
    """Write arrays completely or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **rows)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> Rows:
    """The arrays of a file, whose checksums are compared.

    Raises:
        ConfigError: naming a file that is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (EOFError, KeyError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} is damaged: {error}") from None


def consolidate(store: pathlib.Path) -> None:
    """Write into the metadata of the root of a zarr store which groups it has, since readers look for them there."""
    import zarr  # here and below, so that programs compile meanwhile

    # The standard of zarr 3 does not have this metadata yet, but xarray reads it, and warns where it is missing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)


def write_group(
    path: pathlib.Path, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Write a zarr group that xarray opens; the arguments are those of Recorder.group."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    compressors = (ZstdCodec(), Crc32cCodec())  # without a checksum, a flipped bit gives another number
    group = zarr.create_group(path, attributes=dict(attributes))
    used = {dim for dims, _ in arrays.values() for dim in dims}
    labels = {dim: ((dim,), values) for dim, values in coordinates.items() if dim in used}
    for key, (dims, values) in {**arrays, **labels}.items():
        data = np.asarray(values)
        if data.dtype.kind == "U":
            data = data.astype(np.dtypes.StringDType())
        chunks = tuple(max(s, 1) for s in data.shape)
        group.create_array(key, data=data, dimension_names=dims, chunks=chunks, compressors=compressors)
