"""Options that the installed XLA does not know are left out, not refused."""

import jax

from taut._core.xla_options import known_options


def test_an_option_that_this_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (99, 0, 0))
    options = {"xla_backend_optimization_level": 1, "xla_cpu_no_such_option": False}
    assert known_options(options) == {"xla_backend_optimization_level": 1}


def test_nothing_is_tried_on_the_oldest_jax(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 9, 2))
    options = {"xla_cpu_never_heard_of": False}
    assert known_options(options) == options
