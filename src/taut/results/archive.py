"""A fit in one file: NumPy arrays and JSON, no pickle.

The file is written under a temporary name and renamed, so it is whole or absent; NumPy's zip
container carries a checksum of every array.
"""

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr

from taut._core.errors import InputError
from taut._core.whole_file import write_whole
from taut.diagnostics.finding import Finding
from taut.diagnostics.psis import Weights
from taut.guides.full_rank import FullRankNormal
from taut.guides.low_rank import LowRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.guides.program import ProgramGuide
from taut.guides.triangular import TriangularFlow
from taut.loop.trace import Trace
from taut.loop.verdict import Verdict
from taut.posterior.draws import Draws
from taut.posterior.pool import Pool
from taut.results.record import Record
from taut.targets.program import Site

FORMAT = 3
_KINDS = (FullRankNormal, MeanFieldNormal, LowRankNormal, MixtureNormal, TriangularFlow)
GUIDES = {guide.name: guide for guide in _KINDS}

# Groups of arrays in the file, and the records they belong to.
_VALUES, _OBSERVED = "values", "observed"


def save(record: Record, path: str | os.PathLike) -> None:
    """Write a fit to a file, replacing it as a whole."""
    arrays: dict[str, np.ndarray] = {}
    document: dict[str, Any] = {"format": FORMAT}
    _put(arrays, "guide", _guide_arrays(record.guide))
    document["guide"] = record.guide.name
    document["sites"] = [dataclasses.asdict(site) for site in record.sites]
    document["deterministics"] = list(record.deterministics)
    pool = record.pool
    document["pool"] = {"source": pool.source, "chains": pool.chains, "names": list(pool.values)}
    _put(arrays, "pool", {"z": pool.z, "log_p": pool.log_p})
    _put(arrays, _VALUES, {str(i): v for i, v in enumerate(pool.values.values())})
    if record.weighed is not None:
        _put(arrays, "weighed", _fields(record.weighed))
    if record.weights is not None:
        fields = _fields(record.weights)
        _put(arrays, "weights", {"log_weights": fields.pop("log_weights")})
        document["weights"] = fields
    document["trust"] = record.trust
    document["findings"] = [dataclasses.asdict(finding) for finding in record.findings]
    document["verdict"] = dataclasses.asdict(record.verdict)
    document["notes"] = list(record.notes)
    trace = _fields(record.trace)
    document["stage"] = list(trace.pop("stage"))
    _put(arrays, "trace", trace)
    for name in ("seconds", "gradients", "seed", "dtype", "versions", "k_hats"):
        document[name] = getattr(record, name)
    document["observed"] = list(record.observed)
    _put(arrays, _OBSERVED, {str(i): np.asarray(v) for i, v in enumerate(record.observed.values())})
    arrays["document"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    _write(arrays, Path(path))


def read(path: str | os.PathLike) -> Record:
    """Read a fit from a file.

    Raises:
        InputError: the file is not there, is damaged, or is not a fit.
    """
    arrays = _load(Path(path))
    if "document" not in arrays:
        raise InputError(f"{path}: not a file written by fit.save")
    document = json.loads(arrays["document"].tobytes())
    if document["format"] != FORMAT:
        raise InputError(
            f"{path}: file format {document['format']}; this version of taut reads {FORMAT}"
        )
    pool = document["pool"]
    values = _get(arrays, _VALUES)
    named = {name: values[str(i)] for i, name in enumerate(pool["names"])}
    weights = None
    if "weights" in document:
        numbers = document["weights"]
        for name in ("beyond", "elbo", "log_evidence"):
            numbers[name] = tuple(numbers[name])
        weights = Weights(**_get(arrays, "weights"), **numbers)
    weighed = _get(arrays, "weighed")
    observed = _get(arrays, _OBSERVED)
    return Record(
        guide=_guide(document["guide"], _get(arrays, "guide")),
        sites=tuple(_site(site) for site in document["sites"]),
        deterministics=tuple(document["deterministics"]),
        pool=Pool(named, **_get(arrays, "pool"), source=pool["source"], chains=pool["chains"]),
        weighed=Draws(**weighed) if weighed else None,
        weights=weights,
        trust=document["trust"],
        findings=tuple(Finding(**finding) for finding in document["findings"]),
        verdict=Verdict(**document["verdict"]),
        notes=tuple(document["notes"]),
        trace=Trace(**_get(arrays, "trace"), stage=tuple(document["stage"])),
        seconds=document["seconds"],
        gradients=document["gradients"],
        seed=document["seed"],
        dtype=document["dtype"],
        versions=document["versions"],
        observed={name: observed[str(i)] for i, name in enumerate(document["observed"])},
        k_hats=document["k_hats"],
    )


def _guide_arrays(guide: Any) -> dict[str, Any]:
    if not isinstance(guide, ProgramGuide):
        return _fields(guide)
    leaves = jax.tree_util.tree_flatten_with_path(dict(guide.params))[0]
    params = {f"{path[0].key}{keystr(path[1:])}": leaf for path, leaf in leaves}
    return {"loc": guide.loc, "scale": guide.scale, **{f"params/{n}": v for n, v in params.items()}}


def _guide(name: str, arrays: dict[str, np.ndarray]) -> Any:
    if name != ProgramGuide.name:
        return GUIDES[name](**arrays)
    # Parameters that were trees come back flat, under the paths of their leaves.
    params = {n.removeprefix("params/"): v for n, v in arrays.items() if n.startswith("params/")}
    return ProgramGuide(params, arrays["loc"], arrays["scale"])


def _site(fields: dict[str, Any]) -> Site:
    for name in ("shape", "latent_shape", "dims"):
        fields[name] = tuple(fields[name])
    return Site(**fields)


def _fields(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _put(arrays: dict[str, np.ndarray], group: str, members: dict[str, Any]) -> None:
    for name, value in members.items():
        arrays[f"{group}/{name}"] = np.asarray(value)


def _get(arrays: dict[str, np.ndarray], group: str) -> dict[str, Any]:
    prefix = f"{group}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _write(arrays: dict[str, np.ndarray], path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_whole(path, buffer.getvalue())


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, zipfile.BadZipFile, EOFError):
        raise InputError(f"{path}: not a file written by fit.save, or damaged") from None
