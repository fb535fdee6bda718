"""Taut's own programs are compiled without writing loops out, the user's as ever."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taut._core import loop_unrolling
from taut._core.loop_unrolling import OPTION, compile_quickly
from taut._core.xla_options import OFTEN, cpu_options

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="an option for CPUs")

SHAPE = jax.ShapeDtypeStruct((64, 5), np.float32)


def _lowered():
    def two(x):
        return jax.nn.logsumexp(jnp.stack([jnp.sin(x), jnp.cos(x)], axis=-1), axis=-1)

    # A new function each time, so that JAX has none compiled.
    return jax.jit(lambda x: two(x)).lower(SHAPE)


def _sizes(folder, compile_it):
    """Return the bytes of machine code, and whether XLA was told the option."""
    compile_it(_lowered(), {**(cpu_options(OFTEN) or {}), "xla_dump_to": str(folder)})
    code = sum(path.stat().st_size for path in folder.glob("*.o"))
    (settings,) = folder.glob("*.debug_options")
    return code, OPTION.decode() in settings.read_text()


def _as_ever(lowered, options):
    return lowered.compile(compiler_options=options)


def test_loops_are_not_written_out(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    quick, told = _sizes(ours, compile_quickly)
    plain, untold = _sizes(theirs, _as_ever)
    assert told
    assert not untold
    assert 0 < quick < plain


def test_values_are_the_same(same_to_rounding):
    x = np.random.default_rng(0).standard_normal(SHAPE.shape).astype(np.float32)
    ours, theirs = (c(_lowered(), cpu_options(OFTEN))(x) for c in (compile_quickly, _as_ever))
    same_to_rounding(ours, theirs, np.float32)


def test_other_threads_compile_as_ever_meanwhile(tmp_path):
    found = []

    class Lowered:
        def compile(self, compiler_options):
            def beside():
                found.append(_sizes(tmp_path, _as_ever)[1])

            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()

    compile_quickly(Lowered(), {"some": "option"})
    assert found == [False]


def test_a_compilation_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        compile_quickly(_lowered(), {"xla_cpu_no_such_option": True})
    assert not _sizes(tmp_path, _as_ever)[1]


def test_without_options_loops_are_written_out_as_ever():
    asked = []

    class Lowered:
        def compile(self, compiler_options):
            asked.append(loop_unrolling._asked.now)

    compile_quickly(Lowered(), None)
    compile_quickly(Lowered(), {"some": "option"})
    assert asked == [False, True]


def test_options_made_otherwise_stay_as_they_are():
    assert loop_unrolling._with_addition("no options") == "no options"
