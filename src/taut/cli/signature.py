"""The function underneath a decorated model, which is the one that names the arguments."""

import inspect
from collections.abc import Callable
from typing import Any


def underlying(model: Any) -> Callable:
    """Look through `functools.wraps` and through NumPyro's handlers used as decorators.

    A handler such as `@numpyro.handlers.reparam(config=...)` hides the signature of the model it
    decorates; what it holds is the model.
    """
    from numpyro.primitives import Messenger

    model = inspect.unwrap(model)
    while isinstance(model, Messenger) and model.fn is not None:
        model = inspect.unwrap(model.fn)
    return model
