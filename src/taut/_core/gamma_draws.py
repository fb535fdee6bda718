"""Draws of gamma distributions, JAX's bit for bit, that compile quickly, with their derivative.

JAX's sampler hashes random keys in seven places, each compiled by itself, and its derivative by the
shape compiles two series, each a loop: together half of what compiling a small program with a beta
distribution takes. That derivative is also lost where a logarithm of a draw is below the smallest
float, as most are for shapes below 0.01. Here one hash serves all places, and the derivative is a
sum over fixed nodes.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

_UNSIGNED = {32: np.uint32, 64: np.uint64}


def can_draw(key_type: Any, dtype: Any) -> bool:
    """Return whether `log_gamma` and `gamma` give JAX's draws, for such keys and numbers."""
    return (
        str(key_type) == "key<fry>"
        and dtype in (jnp.float32, jnp.float64)
        and jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    )


@jax.custom_jvp
def log_gamma(key: Any, shape: Any) -> Any:
    """Draw logarithms of gamma variables of scale 1, as `jax.random.loggamma` does.

    Args:
        key: a typed JAX random key, or an array of keys for the first axes of `shape`.
        shape: shape parameters (...), positive.
    """
    return _drawn(key, shape, True)


@jax.custom_jvp
def gamma(key: Any, shape: Any) -> Any:
    """Draw gamma variables of scale 1, as `jax.random.gamma` does; arguments as for `log_gamma`."""
    return _drawn(key, shape, False)


@log_gamma.defjvp
def _log_gamma_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    draws = _drawn(*primals, True)
    return draws, gamma_slope(primals[1], draws) * tangents[1]


@gamma.defjvp
def _gamma_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    draws = _drawn(*primals, False)
    logs = lax.log(lax.max(draws, jnp.finfo(draws.dtype).tiny))
    return draws, draws * gamma_slope(primals[1], logs) * tangents[1]


def _drawn(key: Any, shape: Any, logs: bool) -> Any:
    traced = _traced(key.dtype, key.shape, shape.dtype, shape.shape, logs)
    return jaxpr_as_fun(traced)(key, shape)[0]


@functools.cache
def _traced(key_type: Any, keys: tuple, dtype: Any, sizes: tuple, logs: bool) -> ClosedJaxpr:
    """Return the sampler as a traced function, so that a derivative does not trace it again."""
    types = jax.ShapeDtypeStruct(keys, key_type), jax.ShapeDtypeStruct(sizes, dtype)
    return jax.make_jaxpr(functools.partial(_draw, logs=logs))(*types)


def _draw(key: Any, shape: Any, logs: bool) -> Any:
    dtype, keys = shape.dtype, key.size
    each = shape.size // keys if keys else 0
    flat = lax.reshape(shape, (shape.size,))
    words = jax.random.key_data(key).reshape(keys, 1, 2)
    words = lax.reshape(jnp.broadcast_to(words, (keys, each, 2)), (shape.size, 2))
    d, boosted = jnp.where(flat >= 1, flat, flat + 1) - np.asarray(1 / 3, dtype), flat < 1
    number = np.tile(np.arange(each, dtype=np.uint32), keys)
    cube, uniform = _accepted(words, number, d)
    if logs:
        log_uniform = lax.log1p(-uniform)
        boost = jnp.where(boosted & (log_uniform != 0), log_uniform / flat, 0)
        draws = lax.log(d) + lax.log(cube) + boost
    else:
        draws = d * cube * jnp.where(boosted, lax.pow(1 - uniform, 1 / flat), 1)
    return lax.reshape(draws, shape.shape)


@jax.custom_batching.custom_vmap
def _accepted(words: Any, number: Any, d: Any) -> tuple[Any, Any]:
    """Draw by rejection (Marsaglia and Tsang 2000), all elements in step.

    An element goes through rounds: the first makes its key, the others propose. In each, three
    hashes follow one another, three keys wide, so that one piece of code makes them all.

    Args:
        words: of the keys, uint32 (elements, 2).
        number: which child of its key an element takes, uint32 (elements,).
        d: their shapes less a third, at least 2/3, (elements,).

    Returns:
        The cubes accepted, which times d are the draws, and a uniform number for each.
    """
    dtype, size = d.dtype, d.size
    scale = np.asarray(1 / 3, dtype) / lax.sqrt(d)
    low = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype))
    # The children of keys that are made by the first, second and third hash of a round.
    children = np.zeros((3, 3, size), np.uint32)
    children[0, 1:] = np.uint32([1, 2])[:, None]
    children[1, 1] = 1
    # Words of keys are the first axis, the three of a hash the second, elements the third.
    given = words.T

    def hashes(first: Any, again: Any, own: Any, proposal: Any) -> tuple[Any, Any, Any, Any]:
        def make(stage: Any, carry: tuple) -> tuple[Any, Any]:
            keys, made = carry
            counts = lax.dynamic_index_in_dim(children, stage, keepdims=False)
            counts = counts + jnp.where(first & (stage == 0), number, 0)
            new = _threefry(keys, counts)
            old = jnp.where(first, new[:, 0], jnp.where(again, proposal, new[:, 1]))
            second = jnp.stack([old, old, new[:, 2]], axis=1)
            third = jnp.broadcast_to(new[:, 1:2], new.shape)
            keys = jnp.where(stage == 0, second, third)
            return keys, lax.dynamic_update_index_in_dim(made, new, stage, 0)

        start = jnp.broadcast_to(own[:, None], (2, 3, size))
        made = lax.fori_loop(0, 3, make, (start, jnp.zeros((3, 2, 3, size), np.uint32)))[1]
        next_own = jnp.where(first, made[1, :, 0], jnp.where(again, own, made[0, :, 0]))
        return next_own, made[1, :, 0], made[1, :, 2], made[2, :, 0]

    def propose(carry: tuple) -> tuple:
        rounds, done, again, own, proposal, uniform, cube, first_uniform = carry
        first = rounds == 0
        new_own, new_proposal, uniform_bits, normal_bits = hashes(first, again, own, proposal)
        new_uniform = jnp.where(again, uniform, _unit(uniform_bits, dtype))
        one_more = _unit(normal_bits, dtype)
        between = lax.max(low, one_more * (1 - low) + low)
        normal = np.asarray(np.sqrt(2), dtype) * lax.erf_inv(between)
        root = 1 + normal * scale
        outside = root <= 0
        square, new_cube = normal * normal, root * root * root
        refused = (new_uniform >= 1 - np.asarray(0.0331, dtype) * (square * square)) & (
            lax.log(new_uniform) >= square * 0.5 + d * ((1 - new_cube) + lax.log(new_cube))
        )
        proposed = ~(done | first | outside)
        return (
            rounds + 1,
            done | (proposed & ~refused),
            outside & ~first,
            jnp.where(done, own, new_own),
            jnp.where(done, proposal, new_proposal),
            jnp.where(done, uniform, new_uniform),
            jnp.where(proposed, new_cube, cube),
            jnp.where(first, one_more, first_uniform),
        )

    no, nothing = np.zeros(size, bool), np.zeros(size, dtype)
    start = (0, no, no, given, given, nothing, nothing + 1, nothing)
    *_, cube, uniform = lax.while_loop(lambda carry: ~carry[1].all(), propose, start)
    return cube, uniform


@_accepted.def_vmap
def _accepted_many(size: int, batched: list, *arguments: Any) -> tuple[Any, tuple]:
    """More elements are drawn in the same loop, where `jax.vmap` would test each."""
    whole = (
        value if many else jnp.broadcast_to(value, (size, *value.shape))
        for value, many in zip(arguments, batched, strict=True)
    )
    flat = [lax.reshape(value, (size * value.shape[1], *value.shape[2:])) for value in whole]
    draws = tuple(lax.reshape(value, (size, len(value) // size)) for value in _accepted(*flat))
    return draws, (True, True)


def _threefry(keys: Any, counts: Any) -> Any:
    """Hash counts below 2^32 by Threefry-2x32 of twenty rounds (Salmon et al. 2011).

    JAX's own is a loop on CPUs, which takes longer to run than to compile.

    Args:
        keys: their two words, uint32 (2, ...).
        counts: uint32 (...).

    Returns:
        Two words each, uint32 (2, ...).
    """
    one, two = keys[0], keys[1]
    schedule = (one, two, one ^ two ^ np.uint32(0x1BD11BDA))
    high, low = one, lax.add(counts, two)
    for block in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[block % 2]:
            high = lax.add(high, low)
            left = lax.shift_left(low, np.uint32(turn))
            right = lax.shift_right_logical(low, np.uint32(32 - turn))
            low = lax.bitwise_xor(high, lax.bitwise_or(left, right))
        high = lax.add(high, schedule[(block + 1) % 3])
        low = lax.add(lax.add(low, schedule[(block + 2) % 3]), np.uint32(block + 1))
    return jnp.stack([high, low])


def _unit(words: Any, dtype: Any) -> Any:
    """Return numbers in [0, 1) of two random words (2, ...) each, as JAX makes them."""
    bits, kept = jnp.finfo(dtype).bits, jnp.finfo(dtype).nmant
    unsigned = _UNSIGNED[bits]
    word = words[0] ^ words[1] if bits == 32 else (_wide(words[0]) << 32) | _wide(words[1])
    mantissa = word >> unsigned(bits - kept) | np.ones((), dtype).view(unsigned)
    return lax.bitcast_convert_type(mantissa, dtype) - 1


def _wide(word: Any) -> Any:
    return lax.convert_element_type(word, np.uint64)


@jax.jit
def gamma_slope(shape: Any, log_draw: Any) -> Any:
    """Differentiate the logarithm of a gamma draw by the shape, at a fixed probability.

    With x the draw, F its distribution function and f its density, the derivative of log x is
    -(dF/da) / (x f) (Figurnov et al. 2018). With t = x exp(u), and e(u) = exp(a u - x (exp(u) - 1))
    for the density of u but for a factor, let A and B be the integrals of e and of |u| e, over
    negative u (-) and over positive u (+). As the digamma function is the mean of log t,

        dF/da / (x f) = -(A- B+ + A+ B-) / (A- + A+),

    where all terms are positive: nothing cancels. Nodes are those of double-exponential rules
    (Takahasi and Mori 1974), for the two tails and for what lies between x and the mode of e, or
    its edge where shapes are below 1.

    Args:
        shape: shape parameters a (...).
        log_draw: logarithms of draws (...), which may be below that of the smallest float.

    Returns:
        The derivatives (...), right to 2e-6 of themselves in float32, and to 1e-12 in float64, for
        shapes from 0.001 to 10,000 and probabilities from 1e-6 to 1 - 1e-6.
    """
    dtype = log_draw.dtype
    nodes, weights, part = (np.asarray(t) for t in _rule(dtype.name))
    draw, whole = lax.exp(log_draw), jnp.maximum(shape, 1)
    top = lax.log(whole) - log_draw
    above, narrow = jnp.maximum(top, 0), lax.sqrt(whole)
    width_up = 1 / jnp.maximum(narrow, draw - shape)
    width_down = 1 / jnp.minimum(jnp.maximum(narrow, shape - draw), shape)

    def by_part(down: Any, middle: Any, up: Any) -> Any:
        at = jnp.where(part == 1, middle[..., None], up[..., None])
        return jnp.where(part == 0, down[..., None], at)

    width = by_part(width_down, top, width_up)
    u = by_part(top - above, jnp.zeros_like(top), above) + width * nodes
    # Each side is kept in the range of floats by the height that e has there.
    summit = lax.log(shape) - log_draw
    height = shape * summit - shape + draw
    up, down = jnp.where(summit > 0, height, 0), jnp.where(summit > 0, 0, height)
    exponent = _exponent(u, shape[..., None], draw[..., None], log_draw[..., None])
    negative = u < 0
    scaled = exponent - jnp.where(negative, down[..., None], up[..., None])
    e = lax.exp(scaled) * jnp.abs(width) * weights
    upper = jnp.where(negative, 0, e)
    lower = e - upper
    a_down, b_down, a_up, b_up = _sums(lower, lower * -u, upper, upper * u)
    return (a_down * b_up + a_up * b_down) / (lax.exp(-down) * a_up + lax.exp(-up) * a_down)


def _exponent(u: Any, shape: Any, draw: Any, log_draw: Any) -> Any:
    """Return a u - x (exp(u) - 1); near 0, where the terms cancel, by a series."""
    terms = 9 if u.dtype == np.float32 else 16
    series = jnp.full_like(u, 1 / math.factorial(terms))
    for power in range(terms - 1, 1, -1):
        series = series * u + np.asarray(1 / math.factorial(power), u.dtype)
    near = (shape - draw) * u - draw * u * u * series
    return jnp.where(jnp.abs(u) < 0.5, near, shape * u - lax.exp(log_draw + u) + draw)


def _sums(*terms: Any) -> Any:
    """Sum over the last axis, all in one operation."""
    zero = np.zeros((), terms[0].dtype)
    # jax.lax.reduce gives a list for several operands.
    return lax.reduce(terms, (zero,) * len(terms), _add_each, (terms[0].ndim - 1,))


def _add_each(first: tuple, second: tuple) -> tuple:
    return tuple(a + b for a, b in zip(first, second, strict=True))


@functools.cache
def _rule(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes, weights and what part each is of: 0 below, 1 between, 2 above."""
    tail, between, first, last, reach = _RULES[dtype]
    steps = np.linspace(first, last, tail)
    far = np.exp(steps - np.exp(-steps))
    far_weights = (steps[1] - steps[0]) * far * (1 + np.exp(-steps))
    steps = np.linspace(-reach, reach, between)
    inner = 1 / (1 + np.exp(-np.pi * np.sinh(steps)))
    inner_weights = (steps[1] - steps[0]) * np.pi * np.cosh(steps) * inner * (1 - inner)
    nodes = np.concatenate([-far, inner, far]).astype(dtype)
    weights = np.concatenate([far_weights, inner_weights, far_weights]).astype(dtype)
    return nodes, weights, np.repeat(np.arange(3), (tail, between, tail))


# Nodes of a tail and between, where those of a tail begin and end, and how far the others reach.
_RULES = {"float32": (40, 30, -2.4, 3.0, 2.2), "float64": (160, 110, -3.4, 4.3, 3.1)}
