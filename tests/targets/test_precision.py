"""The precision that a model is computed in, matrix products included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taut._core.precision import native_dtype, precision_of


def _products(dtype):
    """The precision asked for by a matrix product traced in `dtype`, and the type of its result."""
    with precision_of(dtype):
        closed = jax.make_jaxpr(lambda a: a @ a)(jnp.zeros((2, 2)))
    (product,) = (e for e in closed.jaxpr.eqns if e.primitive.name == "dot_general")
    return product.params["precision"], closed.out_avals[0].dtype


def _full(precision):
    return precision is not None and set(precision) == {jax.lax.Precision.HIGHEST}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_accelerator_rounds_no_factor_of_a_product(monkeypatch, dtype):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    precision, made = _products(np.dtype(dtype))
    assert _full(precision)
    assert made == dtype


def test_a_processor_is_left_alone():
    precision, made = _products(native_dtype())
    assert precision is None
    assert made == native_dtype()


def test_what_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with jax.default_matmul_precision("bfloat16"):
        precision, _ = _products(native_dtype())
    assert precision is not None
    assert not _full(precision)
