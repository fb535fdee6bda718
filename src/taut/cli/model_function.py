"""Finds the model function that the command line names, in a file or in a module."""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeVar

from taut._core.errors import InputError, did_you_mean
from taut.cli.signature import underlying
from taut.targets.location import model_location

_FORMS = "write it as path/file.py, path/file.py:function or module:function"
_USUAL_NAME = "model"

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelFunction:
    """A model and how to name it on the command line.

    Attributes:
        function: The model.
        label: Its file or module, a colon, and its name.
        guessed: Whether it was taken for being the only function that samples.
    """

    function: Callable
    label: str
    guessed: bool = False


def load_model(text: str) -> ModelFunction:
    """Load the model that a text such as `path/file.py:function` names.

    Loading runs the file, as importing it would.

    Raises:
        InputError: If there is no such file, module or function, if loading it fails, or if the
            file leaves open which function is meant.
    """
    source, name = _split(text)
    if source.endswith(".py"):
        module = _load_file(Path(source))
    elif name and all(part.isidentifier() for part in source.split(".")):
        module = _import_module(source)
    else:
        raise InputError(f"{text!r} does not name a model; {_FORMS}")
    if name:
        return ModelFunction(_named(module, source, name), f"{source}:{name}")
    if callable(getattr(module, _USUAL_NAME, None)):
        return ModelFunction(getattr(module, _USUAL_NAME), f"{source}:{_USUAL_NAME}")
    name = _only_one_that_samples(module, source)
    return ModelFunction(getattr(module, name), f"{source}:{name}", guessed=True)


def _split(text: str) -> tuple[str, str]:
    source, colon, name = text.rpartition(":")
    # In C:\work\model.py the colon belongs to the path.
    return (source, name) if colon and name.isidentifier() else (text, "")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no model file {path}; {_FORMS}")
    # Its own folder comes first, as for a script, so that it can import its neighbours; its own
    # name gets a prefix, so that a file called numpy.py does no harm.
    _put_first(str(path.resolve().parent))
    module_name = f"_taut_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    # Every name that ends in .py has a specification and a loader.
    assert spec is not None
    assert spec.loader is not None
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    _guarded(str(path), lambda: loader.exec_module(module))
    return module


def _import_module(name: str) -> ModuleType:
    _put_first(os.getcwd())
    return _guarded(name, lambda: importlib.import_module(name))


def _put_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _guarded(source: str, load: Callable[[], Result]) -> Result:
    """Load a module of the user's, whose code may fail in any way."""
    try:
        return load()
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise InputError(f"{source} is not valid Python: {error.msg} ({where})") from error
    except ModuleNotFoundError as error:
        if error.name and f"{source}.".startswith(f"{error.name}."):
            raise InputError(f"there is no module {source!r} to import; {_FORMS}") from None
        raise _not_loaded(source, error) from error
    except (Exception, SystemExit) as error:
        raise _not_loaded(source, error) from error


def _not_loaded(source: str, error: BaseException) -> InputError:
    return InputError(
        f"{source} could not be loaded: {type(error).__name__}: {error}{model_location(error)}"
    )


def _named(module: ModuleType, source: str, name: str) -> Callable:
    function = getattr(module, name, None)
    if callable(function):
        return function
    own = _own_functions(module)
    what = (
        f"has no function {name!r}" if function is None else f"has a {name!r} that is no function"
    )
    listed = f"; its functions are {', '.join(own)}" if own else ""
    raise InputError(f"{source} {what}{did_you_mean(name, own)}{listed}")


def _only_one_that_samples(module: ModuleType, source: str) -> str:
    samplers = [name for name, code in _own_functions(module).items() if _samples(code)]
    if len(samplers) == 1:
        return samplers[0]
    if not samplers:
        raise InputError(
            f"{source} has no function called {_USUAL_NAME!r}, and none that calls numpyro.sample; "
            f"name the model as {source}:function"
        )
    choices = " or ".join(f"{source}:{name}" for name in samplers)
    raise InputError(f"{source} has {len(samplers)} functions that sample; say which: {choices}")


def _own_functions(module: ModuleType) -> dict[str, CodeType]:
    """Public functions written in the module itself, decorated ones included."""
    own = {}
    for name, thing in vars(module).items():
        if name.startswith("_") or not callable(thing):
            continue
        function = underlying(thing)
        if inspect.isfunction(function) and function.__module__ == module.__name__:
            own[name] = function.__code__
    return own


def _samples(code: CodeType) -> bool:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return "sample" in code.co_names or any(_samples(each) for each in inner)
