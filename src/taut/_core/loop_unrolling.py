"""Compiling without loops written out, which JAX has no option for.

LLVM writes out short loops, those over the components of a mixture or the coefficients of a line:
a third of the time in which XLA compiles a small density, for code that is no faster. XLA's option
against it is an entry of a map, which `compiler_options` cannot reach into, and XLA_FLAGS would set
it for the user's programs too. So the options that JAX makes for a compilation are added to, in
threads that ask for it. Where JAX is made otherwise they stay as they are.
"""

import functools
import threading
from typing import Any

OPTION = b"xla_cpu_disable_loop_unrolling"


def _field(number: int, content: bytes) -> bytes:
    """Return a field of a protocol buffer that holds bytes, at most 127 of them."""
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + bytes([len(content)]) + content


# CompileOptionsProto.executable_build_options.debug_options.xla_backend_extra_options: an entry
# with an empty value. Protocol buffers put after each other are merged.
_ADDITION = _field(3, _field(3, _field(500, _field(1, OPTION) + _field(2, b""))))

_asked = threading.local()


def compile_quickly(lowered: Any, options: dict[str, Any] | None) -> Any:
    """Compile a lowered function, without writing loops out.

    Args:
        lowered: what `jax.jit(...).lower` returns.
        options: XLA options; without any, as on accelerators, loops are written out as ever.
    """
    _prepare()
    _asked.now = bool(options)
    try:
        return lowered.compile(compiler_options=options)
    finally:
        _asked.now = False


@functools.cache
def _prepare() -> None:
    try:
        from jax._src import compiler

        make_options = compiler.get_compile_options
    except (ImportError, AttributeError):
        return

    @functools.wraps(make_options)
    def added_to(*args: Any, **kwargs: Any) -> Any:
        options = make_options(*args, **kwargs)
        return _with_addition(options) if getattr(_asked, "now", False) else options

    compiler.get_compile_options = added_to


def _with_addition(options: Any) -> Any:
    try:
        return type(options).ParseFromString(options.SerializeAsString() + _ADDITION)
    except Exception:
        # Nothing is lost but time.
        return options
