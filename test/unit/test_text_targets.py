"""Callables have one name each, found again by an allow list that nothing dangerous passes."""

import inspect
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
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
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
                 "torch.ops.higher_order.register_hook", "torch.ops.quantized_decomposed.quantize_per_tensor.default",
                 "torch.ops.prims.convert_element_type.default"]
        script = ("import json\nfrom fxpect.text.targets import resolve_target, target_name\n"
                  f"print(json.dumps([target_name(resolve_target(name)) for name in {names}]))")
        shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                               env={"PYTHONPATH": ":".join(sys.path)}).stdout

        self.assertEqual(json.loads(shown), names)


# What is callable in the places below, but no operator.
NO_OPERATORS = frozenset("""
    are_deterministic_algorithms_enabled clear_autocast_cache compiled_with_cxx11_abi get_autocast_cpu_dtype
    get_autocast_dtype get_autocast_gpu_dtype get_autocast_ipu_dtype get_autocast_xla_dtype get_default_device
    get_deterministic_debug_mode get_device_module get_file_path get_float32_matmul_precision get_num_interop_threads
    get_num_threads get_rng_state init_num_threads initial_seed is_anomaly_check_nan_enabled is_anomaly_enabled
    is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled is_autocast_ipu_enabled
    is_autocast_xla_enabled is_deterministic_algorithms_warn_only_enabled is_inference_mode_enabled is_storage
    is_warn_always_enabled prepare_multiprocessing_environment set_anomaly_enabled set_autocast_cpu_dtype
    profiler_allow_cudagraph_cupti_lazy_reinit_cuda12 set_autocast_cpu_enabled set_autocast_dtype
    set_autocast_gpu_dtype set_autocast_ipu_dtype set_autocast_ipu_enabled set_autocast_xla_dtype
    set_autocast_xla_enabled set_default_device set_default_dtype set_default_tensor_type set_deterministic_debug_mode
    set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_num_threads set_printoptions
    set_rng_state set_warn_always thread_safe_generator typename use_deterministic_algorithms
    from_dlpack from_file from_numpy frombuffer load save to_dlpack
    import_ir_module import_ir_module_from_buffer merge_type_from_type_comment parse_ir parse_schema
    parse_type_comment unify_type_list
    as_sparse_gradcheck boolean_dispatch call compile fork handle_torch_function vmap wait
    assert_int_or_pair classproperty has_torch_function has_torch_function_unary has_torch_function_variadic
    Literal Optional Union
    cholesky eig lstsq matrix_rank qr solve symeig
    comb factorial perm""".split())  # switches, memory, TorchScript, callers, helpers, types, removed, unbounded
# Methods of a tensor that leave it for another library, run a function, or belong to saving and copying.
NO_METHODS = frozenset(
    "apply_ map_ map2_ register_hook register_post_accumulate_grad_hook share_memory_ storage untyped_storage numpy "
    "module_load resize_as_sparse_".split())


class LawTests(unittest.TestCase):
    """What a graph can hold and a text shows is read back."""

    PLACES = (torch, F, torch.linalg, torch.fft, torch.special, torch.signal.windows, torch.sparse, torch.nested,
              torch.masked, torch.nn.init, torch.nn.grad, operator, math)
    BINDINGS = (torch._C._nn, torch._C._linalg, torch._C._fft, torch._C._special, torch._C._sparse, torch._C._nested,
                torch._C._VariableFunctions)

    def assertReadBack(self, node_op, targets):
        """One graph that calls them all, in order, is read back with the same targets and prints the same."""
        graph = torch.fx.Graph()
        operands = [graph.placeholder(name) for name in "xyz"]
        graph.output([graph.create_node(node_op, target, tuple(operands)) for target in targets])
        text = graph_text(graph, order="program")
        parsed = parse_graph(text)
        found = [node.target for node in parsed.graph.nodes if node.op == node_op]

        self.assertEqual([(one, other) for one, other in zip(targets, found, strict=True) if one is not other], [])
        self.assertEqual(graph_text(parsed, order="program"), text)

    def test_functions(self):
        """A call of every public function of torch that takes tensors or makes one is read back as that function."""
        for holder in self.PLACES:
            with self.subTest(holder.__name__):
                names = sorted(public_functions(holder) - NO_OPERATORS)
                self.assertReadBack("call_function", [getattr(holder, name) for name in names])

    def test_bindings(self):
        """A call of every function that torch binds to an ATen operator is read back, private ones included.

        torch itself finds no module for unique_dim and the dunder functions, so no graph can hold them.
        """
        def is_operator(name):
            schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
            return schemas and not name.startswith("__") and name not in ("from_file", "unique_dim")

        for holder in self.BINDINGS:
            with self.subTest(str(holder)):
                found = [getattr(holder, name) for name in dir(holder) if is_operator(name)]
                self.assertReadBack("call_function", [target for target in found if inspect.isbuiltin(target)])

    def test_methods(self):
        """A call of every method of a tensor is read back, as a method and where torch hands it on as a function."""
        public = [name for name in dir(torch.Tensor) if not name.startswith("_") and name not in NO_METHODS]
        found = {name: getattr(torch.Tensor, name) for name in public}
        methods = {name: value for name, value in found.items() if callable(value) and not isinstance(value, type)}

        self.assertReadBack("call_method", list(methods))
        self.assertReadBack("call_function", list(methods.values()))

    def test_equal_functions_keep_their_names(self):
        """torch.mm and torch.dsmm are equal to Python, but a pass that compares with ``is`` tells them apart."""
        self.assertEqual(torch.mm, torch.dsmm)
        self.assertReadBack("call_function", [torch.mm, torch.dsmm, torch.spmm, torch.mm])

    def test_what_dynamo_records(self):
        """The calls by which dynamo switches modes, differentiates, and asks for a seed are read back."""
        def jvp(x):
            return torch.func.jvp(torch.sin, (x,), (x,))[1]

        def hessian(x):
            return torch.func.hessian(lambda y: y.pow(2).sum())(x)

        def masked(x):
            return torch.masked.sum(x, 1, mask=x > 0) * torch.signal.windows.hann(3)

        def inference(x):
            with torch.inference_mode():
                return x * 2

        for model in (jvp, hessian, masked, inference,
                      lambda x: x + torch.seed(), lambda x: torch.unique(x, return_counts=True)):
            torch._dynamo.reset()
            with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
                explained = torch._dynamo.explain(model)(torch.rand(3, 3))
            for module in explained.graphs:
                text = graph_text(module)
                self.assertEqual(graph_text(parse_graph(text)), text)
            self.assertTrue(explained.graphs)


    def test_options_as_a_record(self):
        """The options of a loss become a call of their class, whose fields are its arguments."""
        options = torch.nn.modules.linear_cross_entropy_options.LinearCrossEntropyOptions(allow_retain_graph=True)

        def model(x, weight, target):
            return F.linear_cross_entropy(x, weight, target, options=options)

        text = graph_text(torch.fx.symbolic_trace(model))
        self.assertIn("torch.nn.modules.linear_cross_entropy_options.LinearCrossEntropyOptions(allow_retain_graph=True",
                      text)
        self.assertEqual(graph_text(parse_graph(text)), text)
        x, weight, target = torch.rand(4, 3), torch.rand(5, 3), torch.tensor([0, 4, 2, 1])
        self.assertTrue(torch.equal(parse_graph(text)(x, weight, target), model(x, weight, target)))


def public_functions(holder):
    """Return the names of the functions of a module that a person may call."""
    names = {name for name, value in vars(holder).items() if not name.startswith("_") and callable(value)}
    return {name for name in names if not isinstance(getattr(holder, name), type)}


class RefusalTests(unittest.TestCase):
    """What is no operator cannot be named."""

    def test_refused(self):
        """Code, files, processes, classes and dunder tricks are refused with the name and the line."""
        for name in ("os.system", "torch.load", "torch.save", "torch.compile", "torch.hub.load",
                     "torch.hub.load_state_dict_from_url", "torch.jit.load", "torch.jit.save",
                     "torch.utils.data.DataLoader", "torch.utils.cpp_extension.load",
                     "torch.utils.checkpoint.checkpoint", "torch._C._from_dlpack", "torch._from_blob",
                     "torch._C._VariableFunctions._from_blob", "torch.nn.functional.boolean_dispatch",
                     "torch.nn.functional.handle_torch_function", "torch.sparse.as_sparse_gradcheck",
                     "torch.masked._ops._combine_input_and_mask", "torch.nested.Union", "torch.nn.init._make_deprecate",
                     "torch.autograd.backward", "torch._utils._rebuild_tensor", "torch._C._autograd._enable_profiler",
                     "torch._C._nn._parse_to", "torch.backends.cuda.preferred_linalg_library",
                     "torch._C._set_deterministic_algorithms", "torch._functorch.eager_transforms.vjp",
                     "torch.functional.boolean_dispatch", "torch.fork", "torch.wait", "torch._dynamo.optimize",
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
        for name in ("relu", "add_", "view", "__and__", "__setitem__", "__reversed__", "size", "item", "append",
                     "masked_fill", "_values", "_nnz", "_to_dense"):
            self.assertTrue(is_allowed_method(name), name)
        for name in ("__reduce_ex__", "__class__", "__setstate__", "__getattribute__", "__dict__", "apply_",
                     "register_hook", "numpy", "_make_wrapper_subclass", "_reduce_ex_internal", "_typed_storage",
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
