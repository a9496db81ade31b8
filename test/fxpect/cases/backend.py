"""The test case of an out-of-tree backend: lower an exported program, run it, compare with eager."""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from fxpect.capture import capture as capture_model
from fxpect.capture.calls import bind
from fxpect.cases.eager import compare_runs, run_call
from fxpect.cases.expectations import Expectation, Expectations
from fxpect.cases.export import ExportTestCase, sizes_to_try
from fxpect.errors import CheckFailure, FxpectError
from fxpect.report.counts import tally
from fxpect.specs import dtype_of


class BackendTestCase(ExportTestCase):
    """Tests of a backend; a subclass says how a program is lowered and run.

        assertLowers
            torch.export.export
            lower(program)              yours
            run(compiled, *args)        yours, at every size that the specs allow
            compared with the model     tolerances

    ``tolerances`` maps a dtype ("float16") to (rtol, atol), torch's own where it says nothing.
    ``expectations`` names the table of expected failures (``expectations.py`` has the format), beside the
    file of the class or absolute. ``strict`` and ``dynamic`` are the defaults of the export, ``effects`` says
    whether mutated inputs are compared.
    """

    tolerances: ClassVar[Mapping[Any, tuple[float, float]]] = {}
    expectations: ClassVar[str | Path | None] = None
    strict: ClassVar[bool] = False
    dynamic: ClassVar[bool | None] = None
    effects: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep unittest's own ``run`` where a subclass defines the hook of that name."""
        super().__init_subclass__(**kwargs)
        hook = vars(cls).get("run")
        if inspect.isfunction(hook) and list(inspect.signature(hook).parameters)[1:2] != ["result"]:
            cls._run_lowered = hook  # type: ignore[method-assign]
            del cls.run

    def lower(self, program: torch.export.ExportedProgram) -> Any:
        """Return what the backend makes of a program; a subclass has to say how."""
        raise NotImplementedError(
            f"expected {type(self).__name__}.lower(program) to return what the backend makes of it; got none"
        )

    def run(self, compiled: Any = None, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Return what the lowered program computes; a subclass may say how (by default it is called).

        unittest calls this name too, with a result and nothing else: then it runs the test.
        """
        if (
            (compiled is None or isinstance(compiled, unittest.TestResult) or hasattr(compiled, "startTest"))
            and not args
            and not kwargs
        ):
            return self._run_test(compiled)
        return self._run_lowered(compiled, *args, **kwargs)

    def _run_lowered(self, compiled: Any, *args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs)

    def assertLowers(
        self,
        model: Any,
        *inputs: Any,
        kwargs: Mapping[str, Any] | None = None,
        dynamic: bool | None = None,
        strict: bool | None = None,
    ) -> Any:
        """Export, lower and run, and fail unless the result is the model's own; returns what ``lower`` did.

        Raises ``CaptureError`` for a model that does not export; what ``lower`` raises comes through.
        """
        capture = "export" if (self.strict if strict is None else strict) else "export-nonstrict"
        dynamic = self.dynamic if dynamic is None else dynamic
        example = capture_model(model, inputs, dict(kwargs or {}), capture=capture, dynamic=dynamic)
        if example.exported is None:
            raise FxpectError(f"expected a model to export; got {type(model).__name__}, which is a graph already")
        call = bind(model, inputs, kwargs, dynamic)
        compiled = self.lower(example.exported)
        tolerances = {dtype_of(dtype): pair for dtype, pair in self.tolerances.items()}

        def lowered(*args: Any, **kwargs: Any) -> Any:
            return self._run_lowered(compiled, *args, **kwargs)

        for sizes in sizes_to_try(example):
            expected = run_call(call, call.model, sizes)
            if expected.error is not None:
                if sizes == example.sizes:
                    raise FxpectError(
                        "expected a model that runs on its inputs; got "
                        f"{type(expected.error).__name__}: {expected.error}"
                    ) from expected.error
                continue
            got = run_call(call, lowered, sizes, state=False)
            found = compare_runs(expected, got, tolerances, effects=self.effects)
            if found:
                at = f" at {', '.join(f'{name}={size}' for name, size in sizes.items())}" if sizes else ""
                raise CheckFailure(
                    "backend",
                    f"expected the lowered program to do what the model does{at}; {found}\n"
                    f"  where: {self._id()}, torch {torch.__version__}\n{example.text}",
                    before=example.text,
                    cause="backend: differs from eager",
                ) from got.error
        return compiled

    # ------------------------------------------------------------------ expected failures

    @classmethod
    def expected_failures(cls) -> Expectations:
        """Return the table of the class, an empty one where it names none."""
        if cls.expectations is None:
            return Expectations(())
        path = Path(cls.expectations)
        if not path.is_absolute():
            owner = next(one for one in cls.__mro__ if "expectations" in vars(one))
            path = Path(inspect.getfile(owner)).parent / path
        return Expectations.read(path)

    @classmethod
    def setUpClass(cls) -> None:
        """Read the table; raises ``FixtureError`` for an entry that names no test of the class."""
        super().setUpClass()
        cls.expected_failures().check_names(cls.__name__, set(unittest.defaultTestLoader.getTestCaseNames(cls)))

    def _run_test(self, result: unittest.TestResult | None) -> unittest.TestResult | None:
        """Run the test; one that the table lists has to fail, in the way that the table says."""
        expected = type(self).expected_failures().of(f"{type(self).__name__}.{self._testMethodName}")
        if expected is None:
            return super().run(result)
        method = getattr(self, self._testMethodName)
        setattr(self, self._testMethodName, lambda: self._fail_as_expected(method, expected))
        self.__unittest_expecting_failure__ = True
        try:
            return super().run(result)
        finally:
            delattr(self, self._testMethodName)
            del self.__unittest_expecting_failure__

    def _fail_as_expected(self, method: Any, expected: Expectation) -> None:
        try:
            method()
        except unittest.SkipTest:
            raise
        except Exception as error:
            if expected.fits(error):
                tally.add("known bug", detail=str(expected))
                raise
            message = f"{expected}; it failed in another way, which does not match {expected.match!r}"
            self.addCleanup(
                _raise, CheckFailure("expectations", f"{message}\n  {type(error).__name__}: {error}"), error
            )
            raise
        tally.add("fixed bug", detail=str(expected))
        message = f"{expected}; it passed on torch {torch.__version__}\n  take the entry out"
        self.addCleanup(_raise, CheckFailure("expectations", message), None)


def _raise(failure: CheckFailure, cause: BaseException | None) -> None:
    raise failure from cause
