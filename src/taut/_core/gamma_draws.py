"""JAX's gamma draws, but for rounding, from a program that compiles quickly, with a derivative.

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

from taut._core.random_keys import counts_in_parts

_UNSIGNED = {32: np.uint32, 64: np.uint64}


def can_draw(key_type: Any, dtype: Any) -> bool:
    """Return whether `log_gamma` and `gamma` give JAX's draws, for such keys and numbers."""
    return counts_in_parts(key_type) and dtype in (jnp.float32, jnp.float64)


@jax.custom_jvp
def log_gamma(key: Any, shape: Any) -> Any:
    """Draw logarithms of gamma variables of scale 1, as `jax.random.loggamma` does.

    Args:
        key: a typed JAX random key, or an array of keys for the first axes of `shape`.
        shape: shape parameters (...), positive.
    """
    return _draw(key, shape, logs=True)


@jax.custom_jvp
def gamma(key: Any, shape: Any) -> Any:
    """Draw gamma variables of scale 1, as `jax.random.gamma` does; arguments as for `log_gamma`."""
    return _draw(key, shape, logs=False)


@log_gamma.defjvp
def _log_gamma_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    draws = log_gamma(*primals)
    return draws, gamma_slope(primals[1], draws) * tangents[1]


@gamma.defjvp
def _gamma_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    draws = gamma(*primals)
    logs = lax.log(lax.max(draws, jnp.finfo(draws.dtype).tiny))
    return draws, draws * gamma_slope(primals[1], logs) * tangents[1]


# Traced once by JAX, though drawn twice where there is a derivative.
@functools.partial(jax.jit, static_argnames="logs", inline=True)
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
    hashes follow one another, three keys wide, so that one piece of code makes them all. With
    k[i] for the child i of a key k, they are

    - in the first round: the element's key e; own = e[0] and e[1]; a uniform number from e[1];
    - in others: own' = own[0], x = own[1] and own[2]; x' = x[0], x[1] and a uniform number from
      own[2]; a normal one from x[1]. Where a proposal has no density it is made again from x'.

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
    children[0, 1:] = np.array([[1], [2]])
    children[1, 1] = 1
    numbers = lax.broadcast_in_dim(number, (3, size), (1,))
    # Words of keys are the first axis, the three of a hash the second, elements the third.
    given = lax.reshape(words.T, (2, 1, size))

    def hashes(first: Any, again: Any, own: Any, proposal: Any) -> tuple[Any, Any, Any, Any]:
        """Return the next keys, the next proposals' keys, and the words of two numbers."""

        def make(keys: Any, stage: Any) -> tuple[Any, Any]:
            place, counts = stage
            counts += lax.select(first & (place == 0), numbers, lax.full_like(numbers, 0))
            new = _threefry(keys, counts)
            one, two, three = _thirds(new)
            old = lax.select(first, one, lax.select(again, proposal, two))
            second = lax.concatenate([old, old, three], 1)
            third = lax.concatenate([two, two, two], 1)
            return lax.select(place == 0, second, third), new

        start = lax.concatenate([own, own, own], 1)
        made = lax.scan(make, start, (np.arange(3), children))[1]
        one, two, three = (_thirds(lax.index_in_dim(made, n, keepdims=False)) for n in range(3))
        next_own = lax.select(first, two[0], lax.select(again, own, one[0]))
        return next_own, two[0], two[2], three[0]

    def propose(carry: tuple) -> tuple:
        rounds, done, again, own, proposal, uniform, cube, first_uniform = carry
        first = rounds == 0
        words_again, words_done = (lax.broadcast_in_dim(m, own.shape, (2,)) for m in (again, done))
        new_own, new_proposal, uniform_bits, normal_bits = hashes(first, words_again, own, proposal)
        new_uniform = lax.select(again, uniform, _unit(uniform_bits, dtype))
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
            lax.select(words_done, own, new_own),
            lax.select(words_done, proposal, new_proposal),
            lax.select(done, uniform, new_uniform),
            lax.select(proposed, new_cube, cube),
            lax.select(first, one_more, first_uniform),
        )

    no, nothing = np.zeros(size, bool), np.zeros(size, dtype)
    start = (0, no, no, given, given, nothing, nothing + 1, nothing)
    *_, cube, uniform = lax.while_loop(lambda carry: ~carry[1].all(), propose, start)
    return cube, uniform


def _thirds(words: Any) -> tuple[Any, Any, Any]:
    """Return the three of a hash, (2, 1, elements) each."""
    one, two, three = (lax.slice_in_dim(words, n, n + 1, axis=1) for n in range(3))
    return one, two, three


@_accepted.def_vmap
def _accepted_many(size: int, batched: list, *arguments: Any) -> tuple[Any, tuple]:
    """More elements are drawn in the same loop, where `jax.vmap` would test each."""
    whole = (
        value if many else jnp.broadcast_to(value, (size, *value.shape))
        for value, many in zip(arguments, batched, strict=True)
    )
    flat = [lax.reshape(value, (size * value.shape[1], *value.shape[2:])) for value in whole]
    elements = arguments[0].shape[1 if batched[0] else 0]
    draws = tuple(lax.reshape(value, (size, elements)) for value in _accepted(*flat))
    return draws, (True, True)


def _threefry(keys: Any, counts: Any) -> Any:
    """Hash counts below 2^32 by Threefry-2x32 of twenty rounds (Salmon et al. 2011).

    JAX's own is a loop on CPUs: less to compile, but several times as long to run.

    Args:
        keys: their two words, uint32 (2, ...).
        counts: uint32 (...).

    Returns:
        Two words each, uint32 (2, ...).
    """
    one, two = (lax.index_in_dim(keys, n, keepdims=False) for n in range(2))
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
    return lax.concatenate([lax.expand_dims(high, [0]), lax.expand_dims(low, [0])], 0)


def _unit(words: Any, dtype: Any) -> Any:
    """Return numbers in [0, 1) of two random words (2, 1, n) each, as JAX makes them."""
    bits, kept = jnp.finfo(dtype).bits, jnp.finfo(dtype).nmant
    unsigned = _UNSIGNED[bits]
    high, low = (lax.reshape(lax.index_in_dim(words, n), (words.shape[2],)) for n in range(2))
    word = high ^ low if bits == 32 else (_wide(high) << 32) | _wide(low)
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
        shapes from 0.001 to 10,000 and probabilities from 1e-6 to 1 - 1e-6. Beyond shapes that
        floats can sum, their limits: -log x / a for the smallest, 1 / a for the largest.
    """
    least, most = _RANGES[log_draw.dtype.name]
    small, large = shape < least, shape > most
    within = _slope(lax.clamp(least, shape, most), log_draw)
    return lax.select(small, -log_draw / shape, lax.select(large, 1 / shape, within))


def _slope(shape: Any, log_draw: Any) -> Any:
    nodes, weights, part = _rule(log_draw.dtype.name)
    zero, sizes = lax.full_like(log_draw, 0), (*shape.shape, len(nodes))
    draw, whole = lax.exp(log_draw), lax.max(shape, lax.full_like(shape, 1))
    top = lax.log(whole) - log_draw
    above, narrow = lax.max(top, zero), lax.sqrt(whole)
    width_up = 1 / lax.max(narrow, draw - shape)
    width_down = 1 / lax.min(lax.max(narrow, shape - draw), shape)

    def spread(value: Any) -> Any:
        return lax.broadcast_in_dim(value, sizes, range(len(sizes) - 1))

    def along(value: Any) -> Any:
        return lax.broadcast_in_dim(value, sizes, (len(sizes) - 1,))

    def by_part(down: Any, middle: Any, up: Any) -> Any:
        upper = lax.select(along(part == 1), spread(middle), spread(up))
        return lax.select(along(part == 0), spread(down), upper)

    width = by_part(width_down, top, width_up)
    u = by_part(top - above, zero, above) + width * along(nodes)
    # Each side is kept in the range of floats by the height that e has there.
    summit = lax.log(shape) - log_draw
    height, is_up = shape * summit - shape + draw, summit > 0
    up, down = lax.select(is_up, height, zero), lax.select(is_up, zero, height)
    negative = u < 0
    exponent = _exponent(u, *map(spread, (shape, draw, log_draw)))
    scaled = exponent - lax.select(negative, spread(down), spread(up))
    e = lax.exp(scaled) * lax.abs(width) * along(weights)
    upper = lax.select(negative, lax.full_like(e, 0), e)
    lower = e - upper
    a_down, b_down, a_up, b_up = _sums(lower, lower * -u, upper, upper * u)
    return (a_down * b_up + a_up * b_down) / (lax.exp(-down) * a_up + lax.exp(-up) * a_down)


def _exponent(u: Any, shape: Any, draw: Any, log_draw: Any) -> Any:
    """Return a u - x (exp(u) - 1); near 0, where the terms cancel, by a series."""
    terms = 9 if u.dtype == np.float32 else 16
    series = lax.full_like(u, 1 / math.factorial(terms))
    for power in range(terms - 1, 1, -1):
        series = lax.add(lax.mul(series, u), np.asarray(1 / math.factorial(power), u.dtype))
    near = (shape - draw) * u - draw * u * u * series
    return lax.select(lax.abs(u) < 0.5, near, shape * u - lax.exp(log_draw + u) + draw)


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


# Shapes whose sums do not overflow, and whose differences are not lost.
_RANGES = {
    "float32": (np.float32(1e-9), np.float32(1e7)),
    "float64": (np.float64(1e-30), np.float64(1e16)),
}

# Nodes of a tail and between, where those of a tail begin and end, and how far the others reach.
_RULES = {"float32": (40, 30, -2.4, 3.0, 2.2), "float64": (160, 110, -3.4, 4.3, 3.1)}
