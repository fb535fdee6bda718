"""What `taut.fit` needs before it can begin: no library that takes as long to import as a fit."""


def test_fitting_imports_no_library_that_it_may_never_need(run_python):
    code = (
        "import sys, taut\n"
        "taut.fit\n"
        "heavy = {'arviz_base', 'arviz_stats', 'corner', 'equinox', 'matplotlib', 'optax',\n"
        "         'pandas', 'pyarrow', 'pymc', 'scipy.stats', 'xarray'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).strip() == "[]"


def test_notebooks_without_widgets_are_not_told_so(run_python):
    code = (
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "import taut\n"
        "warnings.warn('IProgress not found. Please update jupyter and ipywidgets.')\n"
        "print('quiet')"
    )
    assert run_python(code).strip() == "quiet"
