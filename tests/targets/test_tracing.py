"""How often a model's Python function runs, and that no old program answers for a changed one."""

import dataclasses
import functools
import importlib
import pathlib
import sys
import types

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import taut
from taut._core.fingerprint import _describe, _is_written_here, fingerprint

Y = np.array([0.1, -0.3, 1.2, 0.8, 0.5, 1.0])

MOST_TRACES = 4


def _body(y, sd=1.0):
    a = numpyro.sample("a", dist.Normal())
    numpyro.sample("y", dist.Normal(a, sd), obs=y)


COUNT = 0


def counted_globally(y):
    global COUNT
    COUNT += 1
    _body(y)


def _global_counter():
    global COUNT
    COUNT = 0
    return counted_globally, lambda: COUNT


def _nonlocal_counter():
    count = 0

    def model(y):
        nonlocal count
        count += 1
        _body(y)

    return model, lambda: count


def _list_counter():
    calls = []

    def model(y):
        calls.append(1)
        _body(y)

    return model, lambda: len(calls)


def _dict_counter():
    calls = {"count": 0}

    def model(y):
        calls["count"] += 1
        _body(y)

    return model, lambda: calls["count"]


class _Counting:
    def __init__(self):
        self.count = 0

    def __call__(self, y):
        self.count += 1
        _body(y)

    def method(self, y):
        self.count += 1
        _body(y)


def _object_counter():
    model = _Counting()
    return model, lambda: model.count


def _method_counter():
    counting = _Counting()
    return counting.method, lambda: counting.count


COUNTERS = {
    "global": _global_counter,
    "nonlocal": _nonlocal_counter,
    "list": _list_counter,
    "dict": _dict_counter,
    "object": _object_counter,
    "method": _method_counter,
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_a_fit_traces_the_model_few_times_and_new_data_not_at_all(kind, compilations):
    model, count = COUNTERS[kind]()
    with compilations() as first:
        taut.fit(model, Y, progress=False)
    traced = count()
    assert traced == 1
    assert first[0] > 0
    with compilations() as second:
        fit = taut.fit(model, Y + 1.0, progress=False, seed=5)
    assert count() == traced
    assert second == [0]
    mean = (Y + 1.0).sum() / (len(Y) + 1.0)
    assert fit.mean("a") == pytest.approx(mean, abs=5 * fit.sd("a") / np.sqrt(1000))


def test_everything_a_fit_offers_needs_no_further_trace(compilations):
    calls = []

    def model(y):
        calls.append(1)
        _body(y)

    first = taut.fit(model, Y, progress=False)
    fit = taut.fit(model, Y - 1.0, progress=False)
    traced = len(calls)
    for each in (first, fit):
        each.sample(10)
        each.sample(5000)
        each.sample(10, corrected=False)
        each.draws(10)
        each.summary()
        str(each)
    assert len(calls) == traced


def test_a_restart_of_the_options_traces_nothing(compilations):
    model, count = _list_counter()
    taut.fit(model, Y, progress=False)
    traced = count()
    with compilations() as again:
        for options in ({"seed": 3}, {"guide": "mean-field"}, {"checks": False}):
            taut.fit(model, Y, progress=False, **options)
    assert count() == traced
    assert again == [0]


def test_other_shapes_are_traced_anew():
    model, count = _list_counter()
    taut.fit(model, Y, progress=False, checks=False)
    traced = count()
    taut.fit(model, Y[:3], progress=False, checks=False)
    assert traced < count() <= 2 * MOST_TRACES
    # Both are kept.
    now = count()
    taut.fit(model, Y[:3] + 1, progress=False, checks=False)
    taut.fit(model, Y + 1, progress=False, checks=False)
    assert count() == now


SD = 1.0
SETTINGS = {"sd": 1.0}
ARRAY = np.ones(1)
HOLDER = types.SimpleNamespace(sd=1.0)


def _helper_sd():
    return SD


def reads_a_global(y):
    _body(y, SD)


def reads_a_dict(y):
    _body(y, SETTINGS["sd"])


def reads_an_array(y):
    _body(y, ARRAY)


def reads_through_a_function(y):
    _body(y, _helper_sd())


def reads_an_object(y):
    _body(y, HOLDER.sd)


def _set_global(value):
    global SD
    SD = value


def _set_closure():
    sd = 1.0

    def model(y):
        _body(y, sd)

    def change(value):
        nonlocal sd
        sd = value

    return model, change


def _set_default():
    def model(y, sd=1.0):
        _body(y, sd)

    return model, lambda value: setattr(model, "__defaults__", (value,))


class _Holding:
    def __init__(self):
        self.sd = 1.0

    def model(self, y):
        _body(y, self.sd)

    def __call__(self, y):
        _body(y, self.sd)


def _set_attribute():
    holding = _Holding()
    return holding.model, functools.partial(setattr, holding, "sd")


def _set_callable():
    holding = _Holding()
    return holding, functools.partial(setattr, holding, "sd")


class _Slotted:
    __slots__ = ("__sd", "never_set")

    def __init__(self, sd):
        self.__sd = sd

    def model(self, y):
        _body(y, self.__sd)

    def change(self, value):
        self.__sd = value


class _SlottedFurther(_Slotted):
    __slots__ = ()


def _set_slot():
    holding = _SlottedFurther(1.0)
    return holding.model, holding.change


@dataclasses.dataclass(slots=True)
class _Scale:
    sd: float


def _set_field():
    scale = _Scale(1.0)

    def model(y):
        _body(y, scale.sd)

    return model, functools.partial(setattr, scale, "sd")


def _set_partial():
    settings = {"sd": 1.0}

    def model(y, settings):
        _body(y, settings["sd"])

    return functools.partial(model, settings=settings), lambda v: settings.update(sd=v)


def _set_handled():
    model, change = _set_closure()
    return handlers.block(handlers.mask(model, mask=True), hide=["unknown"]), change


def _set_module():
    module = types.ModuleType("constants")
    module.sd = 1.0

    def model(y):
        _body(y, module.sd)

    return model, functools.partial(setattr, module, "sd")


class _Settings:
    sd = 1.0


class _SettingsFurther(_Settings):
    @property
    def from_global(self):
        return SD

    @staticmethod
    def twice_from_global():
        return 2.0 * SD

    def scale(self):
        return self._inner_scale()

    def _inner_scale(self):
        return SD

    def plot(self):
        return pathlib.sys.modules


def reads_a_method_of_a_method(y):
    _body(y, SETTINGS_OBJECT.scale())


def reads_a_method_after_another(y):
    SETTINGS_OBJECT.twice_from_global()
    _body(y, _helper_of_the_object())


def _helper_of_the_object():
    return SETTINGS_OBJECT.scale()


class _Calling:
    def __call__(self, y):
        _body(y, self.scale())

    def scale(self):
        return SD


class _CallingFurther(_Calling):
    pass


def reads_a_class(y):
    _body(y, _Settings.sd)


def reads_an_object_of_a_class(y):
    _body(y, SETTINGS_OBJECT.sd)


def reads_a_property(y):
    _body(y, SETTINGS_OBJECT.from_global)


def reads_a_static_method(y):
    _body(y, 0.5 * _SettingsFurther.twice_from_global())


SETTINGS_OBJECT = _SettingsFurther()


CHANGES = {
    "a class": lambda: (reads_a_class, functools.partial(setattr, _Settings, "sd")),
    "a base class of an object": lambda: (
        reads_an_object_of_a_class,
        functools.partial(setattr, _Settings, "sd"),
    ),
    "what a property reads": lambda: (reads_a_property, _set_global),
    "what a method of a method reads": lambda: (reads_a_method_of_a_method, _set_global),
    "what another method reads": lambda: (reads_a_method_after_another, _set_global),
    "what a method of a callable reads": lambda: (_Calling(), _set_global),
    "what a callable's base class reads": lambda: (_CallingFurther(), _set_global),
    "what a static method reads": lambda: (reads_a_static_method, _set_global),
    "a global": lambda: (reads_a_global, _set_global),
    "a dict": lambda: (reads_a_dict, lambda v: SETTINGS.update(sd=v)),
    "an array in place": lambda: (reads_an_array, lambda v: ARRAY.__setitem__(0, v)),
    "a function's global": lambda: (reads_through_a_function, _set_global),
    "a closure": _set_closure,
    "a default": _set_default,
    "a partial's value": _set_partial,
    "a namespace's attribute": lambda: (reads_an_object, lambda v: setattr(HOLDER, "sd", v)),
    "a method's object": _set_attribute,
    "a callable object": _set_callable,
    "a private slot of a base class": _set_slot,
    "a field of a dataclass with slots": _set_field,
    "a module's constant": _set_module,
    "a model inside handlers": _set_handled,
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_old_program_answers_after_a_change_of(what, same_to_rounding):
    model, change = CHANGES[what]()
    for sd in (1.0, 3.0):
        change(sd)
        fit = taut.fit(model, Y, progress=False, checks=False)
        expected = 1.0 / np.sqrt(1.0 + len(Y) / sd**2)
        same_to_rounding(fit.guide.sd()[0], expected, np.float32)
    change(1.0)


def test_a_change_of_a_global_compiles_anew_and_no_change_does_not(compilations):
    _set_global(1.0)
    taut.fit(reads_a_global, Y, progress=False, checks=False)
    counts = []
    for sd in (1.0, 100.0, 100.0):
        _set_global(sd)
        with compilations() as count:
            taut.fit(reads_a_global, Y, progress=False, checks=False)
        counts.append(count[0] > 0)
    assert counts == [False, True, False]
    _set_global(1.0)


def test_values_that_are_looked_at_are_no_change_of_what_holds_them():
    array, path = jnp.ones(1), pathlib.PurePath("a", "b")

    def model(y):
        _body(y, array if path.name else 1.0)

    before = fingerprint(model)
    # Both keep what they are asked for.
    np.asarray(array), str(path), hash(path), path.parts
    assert fingerprint(model) == before


def test_only_what_the_user_wrote_is_looked_through():
    def model(y):
        assert len(y)  # which pytest rewrites
        return jnp.sum(np.asarray(y)), pytest.mark

    looked_at = set()
    _describe(model, looked_at)
    assert looked_at == {id(model)}


def test_methods_that_a_model_does_not_name_are_not_looked_through():
    looked_at = set()
    _describe(reads_a_method_of_a_method, looked_at)
    names = {name for _, name in (x for x in looked_at if isinstance(x, tuple))}
    assert names == {"scale", "_inner_scale"}


def test_classes_of_libraries_are_not_looked_through(monkeypatch):
    # As in a notebook; that of pytest is installed.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    _is_written_here.cache_clear()
    assert _is_written_here(__name__)
    assert _is_written_here("__main__")
    for module in ("numpy.ma.core", "taut", "collections", "arviz_stats.base", pytest.__name__):
        importlib.import_module(module)
        assert not _is_written_here(module)


def test_a_redefined_function_is_another_model():
    # In a notebook a cell that defines the model is run again under the same name.
    densities = []
    for sd in ("1.0", "2.0"):
        namespace = {"_body": _body}
        exec(f"def model(y):\n    _body(y, {sd})\n", namespace)
        density = taut.target(namespace["model"], Y).log_density(jnp.array([0.2]))
        densities.append(float(density))
    assert densities[0] != densities[1]


def test_a_log_density_is_traced_few_times_and_follows_its_globals():
    calls = []
    scale = 1.0

    def density(x, data):
        calls.append(1)
        return -0.5 * jnp.sum((x - data) ** 2) / scale**2

    for shift in (0.0, 1.0):
        taut.fit(taut.from_log_density(density, np.zeros(2), np.full(2, shift)), progress=False)
    assert 1 <= len(calls) <= MOST_TRACES
    scale = 2.0
    fit = taut.fit(taut.from_log_density(density, np.zeros(2), np.zeros(2)), progress=False)
    assert fit.guide.sd()[0] == pytest.approx(2.0, rel=1e-5)
