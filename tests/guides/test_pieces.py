"""The pieces that guides are written with: densities, Jacobians, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.distributions import constraints
from seeds import EACH_SEED

import taut
from taut.guides.pieces.jacobian import log_abs_det, log_abs_dets

ANGLE = 0.4


def two_modes(weight=0.3, centre=1.5):
    normals = [dist.Normal(centre, 0.6), dist.Normal(-centre, 0.9)]
    return taut.guides.mixture([weight, 1.0 - weight], normals)


def rotate(u1, u2):
    c, s = jnp.cos(ANGLE), jnp.sin(ANGLE)
    return {"x": c * u1 + s * u2, "y": -s * u1 + c * u2}


def stretch(u1, u2):
    return {"x": jnp.sinh(u1), "y": 2.0 * u2 + u1**2}


def two_numbers():
    return taut.guides.independent(u1=two_modes(), u2=dist.Normal(0.0, 0.7))


SCALARS = {
    "mixture": two_modes(),
    "unequal": taut.guides.mixture([0.5, 0.5], [dist.StudentT(5.0), dist.Normal(-1.0, 0.2)]),
    "positive": taut.guides.on_support(dist.Normal(0.2, 0.5), constraints.positive),
    "interval": taut.guides.on_support(dist.Normal(0.2, 0.8), constraints.interval(-1.0, 2.0)),
    "cubic": taut.guides.transformed(dist.Normal(0.0, 0.5), lambda u: u + 0.2 * u**3),
}

JOINTS = {
    "independent": two_numbers(),
    "conditional": taut.guides.conditional(
        {"u1": two_modes()}, lambda u1: {"u2": dist.Normal(0.5 * u1, jnp.exp(0.1 * u1))}
    ),
    "rotated": taut.guides.transformed(two_numbers(), rotate),
    "stretched": taut.guides.transformed(two_numbers(), stretch),
}


@pytest.mark.parametrize("name", SCALARS)
def test_a_distribution_is_normalised(name, double_precision):
    axis = np.linspace(-1.0, 1.0, 2001)
    x = 60.0 * np.sinh(5 * axis) / np.sinh(5)
    slope = 60.0 * 5 * np.cosh(5 * axis) / np.sinh(5) * (axis[1] - axis[0])
    support = SCALARS[name].support
    inside = np.asarray(support(x))
    safe = np.where(inside, x, np.asarray(support.feasible_like(jnp.zeros(()))))
    density = np.where(inside, np.exp(jax.jit(SCALARS[name].log_prob)(safe)), 0.0)
    # What is left out beyond 60 of the heaviest tail, a StudentT's with 5 degrees, is 1e-8; at the
    # edges of a support the trapezoidal rule is off by the square of a spacing.
    assert abs(np.sum(slope * density) - 1.0) < 1e-4


@pytest.mark.parametrize("name", JOINTS)
def test_a_joint_density_is_normalised(name, double_precision):
    # The trapezoidal rule on a smooth density that vanishes at the edges: exact to rounding, but
    # for the tails of "stretched", which reach exp(4).
    names = ("u1", "u2") if name in ("independent", "conditional") else ("x", "y")
    wide = 60.0 if name == "stretched" else 9.0
    axis = np.linspace(-1.0, 1.0, 241)
    first = wide * np.sinh(5 * axis) / np.sinh(5)
    slope = wide * 5 * np.cosh(5 * axis) / np.sinh(5) * (axis[1] - axis[0])
    grid = np.stack(np.meshgrid(first, first, indexing="ij"), -1).reshape(-1, 2)
    density = jax.jit(jax.vmap(lambda v: JOINTS[name].log_prob(dict(zip(names, v, strict=True)))))(
        grid
    )
    total = np.sum(np.exp(density).reshape(241, 241) * slope[:, None] * slope[None])
    assert abs(total - 1.0) < 1e-3


@pytest.mark.parametrize("name", JOINTS)
def test_a_draw_comes_with_the_density_at_its_values(name, same_to_rounding):
    values, log_q = JOINTS[name].sample(jax.random.key(0), 20)
    again = jax.vmap(JOINTS[name].log_prob)(values)
    # Newton's method leaves rounding of the solution, times the slope of log q in steep places.
    same_to_rounding(log_q, again, np.float32, condition=20.0)


@pytest.mark.parametrize("name", JOINTS)
def test_the_sites_stated_in_a_guide_have_the_same_density(name, same_to_rounding):
    trace = handlers.trace(handlers.seed(JOINTS[name], 1)).get_trace()
    total = sum(jnp.sum(site["fn"].log_prob(site["value"])) for site in trace.values())
    shown = {n: s["value"] for n, s in trace.items() if not s["infer"].get("is_auxiliary")}
    same_to_rounding(total, JOINTS[name].log_prob(shown), np.float32, condition=20.0)


MAPS = {
    "elementwise": (lambda v: {"x": jnp.exp(v["u"]) + v["u"]}, {"u": np.linspace(-1, 1, 5)}),
    "full": (lambda v: {"x": jnp.tanh(jnp.eye(5) + 0.3) @ v["u"]}, {"u": np.ones(5)}),
    "reversed": (lambda v: {"x": jnp.sinh(v["u"])[::-1]}, {"u": np.linspace(-1, 1, 4)}),
    "triangular": (
        lambda v: {"x": v["a"] ** 3, "y": v["a"].sum() * v["b"], "z": v["b"] + jnp.exp(v["c"])},
        {"a": np.array([0.5, 2.0]), "b": np.array(1.5), "c": np.array(0.3)},
    ),
    "coupled": (
        lambda v: {"x": v["a"] * v["b"], "y": v["a"] - v["b"]},
        {"a": np.array(0.5), "b": np.array(1.5)},
    ),
    "softplus": (lambda v: {"x": jax.nn.softplus(v["u"])}, {"u": np.linspace(-2, 2, 5)}),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_determinant_is_that_of_the_full_jacobian(name, double_precision, same_to_rounding):
    fn, values = MAPS[name]
    flat, unravel = jax.flatten_util.ravel_pytree(values)
    full = jax.jacfwd(lambda f: jax.flatten_util.ravel_pytree(fn(unravel(f)))[0])(flat)
    same_to_rounding(log_abs_det(fn, values), np.linalg.slogdet(full)[1])


def _rotated(v):
    c, s = np.cos(0.3), np.sin(0.3)
    return {"x": jnp.exp(c * v["a"] - s * v["b"]), "y": 2.0 * (s * v["a"] + c * v["b"])}


ROWS = {
    "two arrays": (_rotated, {"a": (50,), "b": (50,)}, (50,)),
    "matrices": (lambda v: {"x": jnp.tanh(v["u"] @ MATRIX)[..., ::-1]}, {"u": (50, 3)}, (50,)),
    "stacked": (
        lambda v: {"x": jnp.stack([v["a"] + v["b"], v["a"] * v["b"]], axis=-1)},
        {"a": (50,), "b": (50,)},
        (50,),
    ),
    "taken apart": (
        lambda v: {"x": v["a"][:, 0] * v["a"][:, 1], "y": v["a"][..., 1]},
        {"a": (50, 2)},
        (50,),
    ),
    "sums in rows": (
        lambda v: {"x": v["u"] * v["u"].sum(axis=-1, keepdims=True)},
        {"u": (50, 2)},
        (50,),
    ),
    "unpacked": (
        lambda v: {"x": jnp.stack([v["u"].T[0] + v["u"].T[1], *jnp.log2(v["u"].T[1:])], axis=1)},
        {"u": (50, 2)},
        (50,),
    ),
    "across rows": (lambda v: {"x": v["u"] + jnp.cumsum(v["u"]) ** 3}, {"u": (6,)}, ()),
    "turned": (lambda v: {"x": v["u"].T + 2.0 * v["u"]}, {"u": (4, 4)}, ()),
}
MATRIX = np.eye(3) + 0.2


@pytest.mark.parametrize("name", ROWS)
def test_rows_mapped_one_by_one_have_a_determinant_each(name, double_precision, same_to_rounding):
    fn, shapes, rows = ROWS[name]
    random = np.random.default_rng(1)
    values = {n: jnp.asarray(random.uniform(0.5, 1.5, shape)) for n, shape in shapes.items()}
    (block,) = log_abs_dets(fn, values)
    assert block.log_det.shape == rows
    flat, unravel = jax.flatten_util.ravel_pytree(values)
    full = jax.jacfwd(lambda f: jax.flatten_util.ravel_pytree(fn(unravel(f)))[0])(flat)
    same_to_rounding(block.log_det.sum(), np.linalg.slogdet(full)[1])


@pytest.mark.parametrize(
    ("name", "cheap"), [("elementwise", True), ("softplus", True), ("full", False)]
)
def test_a_map_of_each_number_by_itself_needs_no_determinant(name, cheap):
    fn, values = MAPS[name]
    text = str(jax.make_jaxpr(lambda v: log_abs_det(fn, v))(values))
    assert ("lu" in text.replace("softplus", "")) != cheap


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_determinants_are_exact_however_small_or_large(size, scale, same_to_rounding):
    # In single precision: rows of very different sizes, whose products overflow or vanish.
    random = np.random.default_rng(size)
    matrices = random.standard_normal((20, size, size)) * scale ** random.random((20, size, 1))
    matrices = matrices.astype(np.float32)

    def mapped(v, matrix=matrices):
        return {"x": jnp.einsum("rij,rj->ri", matrix, v["u"])}

    (block,) = log_abs_dets(mapped, {"u": jnp.ones((20, size))})
    exact = matrices.astype(float)
    conditions = np.linalg.cond(exact / np.abs(exact).max(axis=2, keepdims=True))
    worst = float(conditions.max())
    same_to_rounding(block.log_det, np.linalg.slogdet(exact)[1], np.float32, worst)
    slopes = jax.grad(lambda m: log_abs_det(lambda v: mapped(v, m), {"u": jnp.ones((20, size))}))
    # The derivative of log|det M| is the transposed inverse.
    inverse = np.linalg.inv(exact).swapaxes(1, 2)
    rows = np.abs(exact).max(axis=2, keepdims=True)
    got = np.asarray(slopes(jnp.asarray(matrices)), float)
    same_to_rounding(got * rows, inverse * rows, np.float32, 10.0 * worst)


def test_a_map_that_cannot_be_inverted_has_no_volume():
    def flat(v):
        return {"x": v["u"].sum() * jnp.arange(1.0, 1.0 + v["u"].size)}

    for size in (2, 3):
        assert log_abs_det(flat, {"u": jnp.ones(size)}) == -np.inf


def test_a_block_whose_density_is_known_may_have_any_count():
    def fn(v):
        return {"x": v["a"] + v["b"], "y": jnp.exp(v["c"])}

    (block,) = log_abs_dets(fn, {"a": 1.0, "b": 2.0, "c": 3.0}, known=["x"])
    assert (block.made, block.sources, float(block.log_det)) == (("y",), ("c",), 3.0)


@pytest.mark.parametrize(
    ("fn", "values", "sentence"),
    [
        (
            lambda v: {"x": v["u"], "y": v["u"] ** 2},
            {"u": 1.0},
            "x, y are 2 numbers made from 1 auxiliary; no density exists",
        ),
        (
            lambda v: {"x": v["u"], "y": v["u"] ** 2},
            {"u": 1.0, "v": 1.0},
            "y is 1 number made from 0 auxiliaries; no density exists",
        ),
        (lambda v: {"x": v["u"].sum()}, {"u": np.ones(3)}, "x is 1 number made from 3 auxiliaries"),
    ],
)
def test_a_map_without_a_density_is_refused(fn, values, sentence):
    with pytest.raises(taut.InputError) as caught:
        log_abs_det(fn, values)
    assert sentence in str(caught.value)


def test_a_delta_returned_by_the_map_is_not_counted_twice():
    base = {"u": dist.Normal(0.0, 1.0)}
    plain = taut.guides.transformed(base, lambda u: {"x": jnp.exp(u)})
    given = taut.guides.transformed(base, lambda u: {"x": dist.Delta(jnp.exp(u), log_density=-u)})
    assert plain.log_prob({"x": 2.0}) == given.log_prob({"x": 2.0})


@EACH_SEED
def test_an_exact_guide_has_the_same_weight_at_every_draw(seed, same_to_rounding):
    # u is normal and x = exp(u): with its Jacobian q is the model's LogNormal, to rounding.
    q = taut.guides.transformed({"u": dist.Normal(0.0, 1.0)}, lambda u: {"x": jnp.exp(u)})
    values, log_q = q.sample(jax.random.key(seed), 50)
    same_to_rounding(dist.LogNormal(0.0, 1.0).log_prob(values["x"]), log_q, np.float32)


def test_the_rotated_two_mode_guide_takes_five_lines():
    def model():
        numpyro.sample("x", dist.Normal(0.0, 2.0))
        numpyro.sample("y", dist.Normal(0.0, 2.0))

    def guide():
        b, angle = numpyro.param("b", 1.0), numpyro.param("angle", 0.3)
        u1 = taut.guides.mixture([0.5, 0.5], [dist.Normal(b, 0.7), dist.Normal(-b, 0.7)])
        u = taut.guides.independent(u1=u1, u2=dist.Cauchy(0.0, 1.0))
        c, s = jnp.cos(angle), jnp.sin(angle)
        taut.guides.transformed(u, lambda u1, u2: {"x": c * u1 + s * u2, "y": c * u2 - s * u1})()

    assert taut.check(model, guide).problems == ()


def test_a_known_inverse_is_used():
    q = taut.guides.transformed(
        {"u": dist.Normal(0.0, 1.0)},
        lambda u: {"x": jnp.tanh(u)},
        inverse=lambda x: {"u": jnp.arctanh(x)},
    )
    u = jnp.arctanh(0.9)
    want = dist.Normal(0.0, 1.0).log_prob(u) - jnp.log(1 - 0.9**2)
    assert abs(q.log_prob({"x": 0.9}) - want) < 1e-5


def test_values_out_of_reach_have_no_density():
    q = taut.guides.transformed(dist.Normal(0.0, 1.0), jnp.tanh)
    assert not np.isfinite(jax.jit(q.log_prob)(2.0))


def test_rows_of_a_plate_are_mapped_each_by_itself():
    piece = taut.guides.transformed(
        dist.Normal(jnp.zeros(4), 1.0), jnp.exp, support=constraints.positive
    )

    def guide():
        with numpyro.plate("rows", 4):
            numpyro.sample("x", piece)

    site = handlers.trace(handlers.seed(guide, 0)).get_trace()["x"]
    assert site["fn"].log_prob(site["value"]).shape == (4,)


def test_on_support_is_the_known_transformed_normal(same_to_rounding):
    x = jnp.array([0.1, 1.0, 5.0])
    piece = taut.guides.on_support(dist.Normal(0.3, 0.8), constraints.positive)
    same_to_rounding(piece.log_prob(x), dist.LogNormal(0.3, 0.8).log_prob(x), np.float32)


WRONG = [
    (
        lambda: taut.guides.on_support(dist.LogNormal(0.0, 1.0), constraints.positive),
        "on_support carries a distribution on the reals; LogNormal has support positive",
    ),
    (
        lambda: taut.guides.on_support(dist.Normal(0.0, 1.0), constraints.sphere),
        "no smooth one-to-one map from R^n reaches Sphere",
    ),
    (
        lambda: taut.guides.mixture([0.5, 0.6], [dist.Normal(), dist.Normal()]),
        "the weights of a mixture are shares that sum to one",
    ),
    (
        lambda: taut.guides.mixture([0.5, 0.5], [dist.Normal()]),
        "a mixture of 1 components needs as many weights; got 2",
    ),
    (
        lambda: taut.guides.mixture([0.5, 0.5], [dist.Normal(), dist.LogNormal()]),
        "the components have different supports: Positive, Real",
    ),
    (lambda: taut.guides.mixture([1.0], ["normal"]), "components of a mixture are distributions"),
    (lambda: taut.guides.independent(u=1.0), "not a NumPyro distribution: 'u'"),
    (lambda: taut.guides.conditional({}, dict), "named values are a piece or a dict"),
    (
        lambda: taut.guides.transformed(dist.Normal(jnp.zeros(3), 1.0).to_event(1), jnp.sum),
        "transformed maps events of shape (3,) to shape ()",
    ),
    (
        lambda: taut.guides.transformed({"u": dist.Normal()}, lambda u: u).draw(jax.random.key(0)),
        "returns a dict of named values",
    ),
    (
        lambda: handlers.seed(
            taut.guides.transformed({"u": dist.Normal()}, lambda u: {"u": 2 * u}), 0
        )(),
        "transformed makes u from values of the same name",
    ),
    (
        lambda: two_numbers().log_prob({"u1": 0.0}),
        "a density of u1, u2 was asked for at values of u1",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), WRONG)
def test_a_mistake_is_named(call, sentence):
    with pytest.raises(taut.InputError) as caught:
        call()
    assert sentence in str(caught.value)


def test_a_map_of_named_values_inside_a_plate_is_refused():
    piece = taut.guides.transformed({"u": dist.Normal()}, lambda u: {"x": 2 * u})

    def guide():
        with numpyro.plate("rows", 4):
            piece()

    with pytest.raises(taut.InputError, match="'u' is drawn inside a plate"):
        handlers.seed(guide, 0)()
