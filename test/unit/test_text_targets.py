"""Callables have one name each, found again by an allow list that nothing dangerous passes."""

import json
import math
import operator
import subprocess
import sys
import unittest

import torch
import torch.nn.functional as F

from fxpect.errors import FxpectError, GraphTextError, UnknownTargetError
from fxpect.text import targets
from fxpect.text.targets import check_method, is_allowed_method, register_target, resolve_target, target_name


def double(x):
    return x * 2


class NameTests(unittest.TestCase):
    """Names of callables and back."""

    def test_known_names(self):
        """Each kind of callable has the name that a person would write."""
        cases = {
            torch.cat: "torch.cat", F.linear: "torch.nn.functional.linear",
            torch.ops.aten.add.Tensor: "torch.ops.aten.add.Tensor",
            torch.ops.aten.add: "torch.ops.aten.add", torch.ops.higher_order.cond: "torch.ops.higher_order.cond",
            operator.getitem: "operator.getitem", operator.add: "operator.add", math.floor: "math.floor",
            getattr: "getattr",
            torch.einsum: "torch.einsum", torch.linalg.inv: "torch.linalg.inv", torch.fft.fft: "torch.fft.fft",
            torch.special.expit: "torch.special.expit", F.gelu: "torch.nn.functional.gelu",
            F.relu: "torch.nn.functional.relu",
            torch.relu: "torch.relu", torch.sym_max: "torch.sym_max",
            torch._C._set_grad_enabled: "torch._C._set_grad_enabled",
            torch.Tensor.add_: "torch.Tensor.add_", torch.amp.autocast_mode._enter_autocast:
                "torch.amp.autocast_mode._enter_autocast", torch.split: "torch.split", torch.arange: "torch.arange",
            F.scaled_dot_product_attention: "torch.nn.functional.scaled_dot_product_attention"}
        for target, name in cases.items():
            with self.subTest(name):
                self.assertEqual(target_name(target), name)
                self.assertIs(resolve_target(name), target)

    def test_every_torch_function_is_found_again(self):
        """Of the functions that torch says take tensors, nearly all resolve by their name; the rest are known."""
        listed = torch.overrides.get_overridable_functions()
        lost = []
        for holder, functions in listed.items():
            for function in functions:
                if holder is torch.Tensor or not hasattr(function, "__name__") or isinstance(function, type):
                    continue
                try:
                    if resolve_target(target_name(function)) is not function:
                        lost.append(target_name(function))
                except UnknownTargetError:
                    lost.append(target_name(function))
        properties = {name for name in lost if name.rpartition(".")[2] in ("__get__", "__set__", "__delete__")}

        self.assertLess(len(set(lost) - properties), 12, sorted(set(lost) - properties))

    def test_every_aten_operator_is_found_again(self):
        """Every overload of ATen and prims has a name that gives it back, but for those that touch files."""
        lost = []
        for namespace in (torch.ops.aten, torch.ops.prims):
            for packet in [getattr(namespace, name) for name in dir(namespace) if not name.startswith("__")]:
                for overload in getattr(packet, "overloads", list)():
                    target = getattr(packet, overload)
                    try:
                        self.assertIs(resolve_target(target_name(target)), target)
                    except UnknownTargetError:
                        lost.append(target_name(target))

        self.assertEqual([name for name in lost if "file" not in name and "save" not in name], [])

    def test_names_hold_no_address(self):
        """A lambda, a local function, a bound method and a callable object have names without angle brackets."""
        class Local:
            def method(self):
                return None

            def __call__(self):
                return None

        for target in (lambda x: x, Local().method, Local(), Local.method, double):
            self.assertTrue(all(part.isidentifier() for part in target_name(target).split(".")), target_name(target))

    def test_operators_resolve_in_a_fresh_process(self):
        """Operators that torch registers late (map, scan, quantized_decomposed) resolve all the same."""
        names = ["torch.ops.higher_order.map_impl", "torch.ops.higher_order.scan", "torch.ops.higher_order.while_loop",
                 "torch.ops.quantized_decomposed.quantize_per_tensor.default",
                 "torch.ops.prims.convert_element_type.default"]
        script = ("import json\nfrom fxpect.text.targets import resolve_target, target_name\n"
                  f"print(json.dumps([target_name(resolve_target(name)) for name in {names}]))")
        shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                               env={"PYTHONPATH": ":".join(sys.path)}).stdout

        self.assertEqual(json.loads(shown), names)


class RefusalTests(unittest.TestCase):
    """What is no operator cannot be named."""

    def test_refused(self):
        """Code, files, processes, classes and dunder tricks are refused with the name and the line."""
        for name in ("os.system", "torch.load", "torch.save", "torch.compile", "torch.hub.load",
                     "torch.ops.load_library", "torch.ops.import_module", "torch.ops.loaded_libraries",
                     "torch.ops.aten", "torch.ops.aten._dir", "torch.ops.aten.add.__call__",
                     "torch.ops.aten.add.Tensor.redispatch", "torch.ops.higher_order.__class__",
                     "torch.ops.higher_order.nothing", "torch.ops.nothing.x", "torch.ops.aten.from_file.default",
                     "operator.attrgetter", "operator.methodcaller", "operator.itemgetter", "operator.call",
                     "operator.__call__", "operator.__loader__", "math.__spec__", "math.pi", "torch.Tensor.__reduce__",
                     "torch.Tensor.__setstate__", "torch.Tensor.__class__", "torch.Tensor.register_hook",
                     "torch.from_file", "torch.autocast", "torch.Tensor", "torch.nn.functional.torch",
                     "torch.nn.functional.warnings.warn", "torch.functional.Any", "torch.jit.script",
                     "torch._C._cuda_init", "torch._C._VariableFunctions.from_file", "torch.overrides", "torch.os",
                     "torch.sys.exit", "torch.set_num_threads", "torch.set_default_dtype", "eval", "exec", "print",
                     "open", "setattr", "globals", "__import__", "builtins.eval", "vars", "", ".", "torch.",
                     "torch.ops.", "torch.ops.aten.add.", "math.", "double"):
            with self.subTest(name):
                with self.assertRaises(UnknownTargetError) as caught:
                    resolve_target(name, 7)
                self.assertIn(f"line 7: expected an operator; got {name}", str(caught.exception))
                self.assertEqual(caught.exception.line, 7)
        self.assertTrue(issubclass(UnknownTargetError, GraphTextError))

    def test_methods(self):
        """Methods of tensors and arithmetic are allowed, what runs code or leaves the tensor is not."""
        for name in ("relu", "add_", "view", "__and__", "__setitem__", "size", "item", "append", "masked_fill"):
            self.assertTrue(is_allowed_method(name), name)
        for name in ("__reduce_ex__", "__class__", "__setstate__", "__getattribute__", "__dict__", "apply_",
                     "register_hook", "numpy",
                     "share_memory_", "module_load", "_make_subclass", "nothing", "shape", "format", "pop"):
            self.assertFalse(is_allowed_method(name), name)
            with self.assertRaisesRegex(UnknownTargetError, rf"line 3: expected a method of torch.Tensor; got .{name}"):
                check_method(name, 3)


class RegistrationTests(unittest.TestCase):
    """A test can allow functions of its own."""

    def setUp(self):
        known, names = dict(targets._registered), dict(targets._registered_names)
        self.addCleanup(lambda: (targets._registered.clear(), targets._registered.update(known),
                                 targets._registered_names.clear(),
                                 targets._registered_names.update(names), targets._target_name.cache_clear()))

    def test_registered_function_is_found(self):
        """A registered function has its qualified name, or the one given, and resolves."""
        self.assertIs(register_target(double), double)
        self.assertEqual(target_name(double), f"{__name__}.double")
        self.assertIs(resolve_target(f"{__name__}.double"), double)

        register_target(len, "sizes.count")
        self.assertIs(resolve_target("sizes.count"), len)
        self.assertEqual(target_name(len), "sizes.count")

    def test_misuse(self):
        """Something that is not callable, a name that is none, and a name that is taken are refused."""
        register_target(double)
        for arguments, pattern in (((3,), "expected a callable; got 3"),
                                   ((len, "a b"), "expected a dotted name; got 'a b'"),
                                   ((len, f"{__name__}.double"), "already stands for")):
            with self.assertRaisesRegex(FxpectError, pattern):
                register_target(*arguments)
        for name in ("torch.add", "operator.add", "torch.ops.mine.op"):
            with self.assertRaisesRegex(FxpectError, "belongs to torch|already stands for"):
                register_target(len, name)


if __name__ == "__main__":
    unittest.main()
