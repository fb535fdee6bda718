"""One BLAS thread while a fit runs.

The linear algebra of a fit is small, and OpenBLAS's thread pool spins on the cores XLA needs: left
alone it made a Gaussian-process model 3 to 20 times slower on two cores.
"""

import functools

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    # Looking for loaded libraries takes milliseconds, so it is done once.
    return ThreadpoolController()


def single_blas_thread():
    """Return a context manager that holds every loaded BLAS to one thread."""
    return _controller().limit(limits=1, user_api="blas")
