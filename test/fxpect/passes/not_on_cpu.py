"""Passes of torch that are not in the catalogue, and why: nothing here can make them fire on a CPU."""

from __future__ import annotations

NO_PATTERNS = "holds no pattern outside the company that wrote it"
LOWERING = "puts a function of Inductor's code generation into the graph, which nothing else can run"
GPU = "asks for a GPU"
COLLECTIVES = "rewrites collectives, which need a process group"
WITHIN_EXPORT = "runs while exporting, so no exported graph still holds what it rewrites"
QUANTIZED = "rewrites graphs of quantized models, which need torchao to be made"
ANALYSIS = "reads the graph and leaves it as it is"

# A name as the catalogue would give it -> why it is not there.
NOT_ON_CPU: dict[str, str] = {
    # pre-grad
    "pre_grad.merge_stack_tahn_unbind_pass": NO_PATTERNS,
    "pre_grad.normalization_pass_aten": NO_PATTERNS,
    "pre_grad.merge_splits_pass_aten": NO_PATTERNS,
    "pre_grad.split_cat_pass_aten": NO_PATTERNS,
    "pre_grad.unbind_stack_pass_aten": NO_PATTERNS,
    "pre_grad.merge_getitem_cat_pass_aten": NO_PATTERNS,
    "pre_grad.merge_stack_tahn_unbind_pass_aten": NO_PATTERNS,
    "pre_grad.mutate_cat_pass_aten": NO_PATTERNS,
    "pre_grad.remove_split_with_size_one_pass_aten": NO_PATTERNS,
    "pre_grad.fuse_split_linear_add_pass": NO_PATTERNS,
    "pre_grad.fuse_chunk_squeeze_cat_pass": NO_PATTERNS,
    "pre_grad.remove_reshape_pass": NO_PATTERNS,
    "pre_grad.remove_noop_pass": NO_PATTERNS,
    "pre_grad.merge_concats_pass": NO_PATTERNS,
    "pre_grad.relu_nan_to_num": NO_PATTERNS,
    # joint
    "joint.bmm_to_mm": GPU,
    "joint.fix_iota_device": "moves an index from the CPU to the GPU of what it indexes",
    "joint.pad_mm": "pads products where a benchmark on a GPU says so",
    "joint.auto_chunker": GPU,
    "joint.canonicalize_quant_mapping": "rewrites invoke_quant, which only a compile keeps",
    "joint._remove_zero_bias_from_efficient_attention": GPU,
    "joint.fuse_offset_creation_pass": GPU,
    # post-grad
    "post_grad.mm_plus_mm": LOWERING,
    "post_grad.cat_slice_cat": LOWERING,
    "post_grad.splitwithsizes_cat_replace": LOWERING,
    "post_grad.cat_splitwithsizes_replace": LOWERING,
    "post_grad.mkldnn_fusion": LOWERING,
    "post_grad.grouped_gemm_pass": LOWERING,
    "post_grad.woq_int8": LOWERING,
    "post_grad.group_linear": "needs fbgemm",
    "post_grad.shape_padding_multiplier": NO_PATTERNS,
    "post_grad.pad_aten_mm_pass": NO_PATTERNS,
    "post_grad.unfuse_bias_add_to_pointwise": GPU,
    "post_grad.unfuse_bias_baddbmm_to_pointwise": GPU,
    "post_grad._fuse_addcdiv_to_fma": GPU,
    "post_grad._fold_scaled_mm_output_scale": GPU,
    "post_grad._replace_quack_symmetric_mm": GPU,
    "post_grad.prepare_softmax": GPU,
    "post_grad.move_constructors_to_gpu": GPU,
    "post_grad.respecialize_current_device_nodes": GPU,
    "post_grad.b2b_gemm": "asks for Triton",
    "post_grad.decompose_triton_kernel_wrapper_functional": "asks for Triton",
    "post_grad.concat_linear_woq_int4": QUANTIZED,
    "post_grad.fix_auto_functionalized_dtype_views": "changes a note for the next pass, not the graph",
    "post_grad.deduplicate_wait_tensors": COLLECTIVES,
    "post_grad.micro_pipeline_tp_pass": COLLECTIVES,
    "post_grad.fuse_ddp_communication": COLLECTIVES,
    "post_grad.bucket_all_gather": COLLECTIVES,
    "post_grad.bucket_all_reduce": COLLECTIVES,
    "post_grad.bucket_reduce_scatter": COLLECTIVES,
    "post_grad.dedup_fsdp_reduce_scatter": COLLECTIVES,
    "post_grad.decomp_comms": COLLECTIVES,
    "post_grad.schedule_overlap_bucketing": COLLECTIVES,
    "post_grad.replace_collectives_with_low_contention": COLLECTIVES,
    # freezing
    "freezing.int8_woq_fusion_pattern": QUANTIZED,
    "freezing.qconv_weight_prepack": QUANTIZED,
    "freezing.qlinear_weight_prepack": QUANTIZED,
    "freezing.dequant_promotion": QUANTIZED,
    "freezing.linear_dynamic_fp16_weight_prepack": QUANTIZED,
    # torch.fx and functorch
    "fx.tensorify_python_scalars": "rewrites symbolic floats, which only a compile leaves",
    "fx.regional_inductor": "compiles the regions that were marked",
    "fx.partition_cudagraphs": GPU,
    "fx.insert_deferred_runtime_asserts": WITHIN_EXPORT,
    "fx.graph_type_checker": "checks types that a person wrote into the model",
    "fx.infer_symbolic_types": "solves types that a person wrote into the model",
    "fx.rewriting_tracer": "rewrites Python source before it is traced",
    "fx.shape_prop": ANALYSIS,
    "fx.fake_tensor_prop": ANALYSIS,
    "fx.graph_drawer": ANALYSIS,
    "fx.minimizer": ANALYSIS,
    "functorch.functionalize_rng_ops": GPU,
    "functorch.assign_backward_streams": GPU,
    "functorch.remat_using_tags": "asks for backward regions marked by activation checkpointing in one graph",
    "functorch.perform_fp8_activation_quantization": GPU,
    # torch.export
    "export.replace_set_grad_with_hop_pass": WITHIN_EXPORT,
    "export.replace_autocast_with_hop_pass": WITHIN_EXPORT,
    "export.lift_constants_pass": WITHIN_EXPORT,
    "export.collect_tracepoints_pass": WITHIN_EXPORT,
    "export.placeholder_naming_pass": WITHIN_EXPORT,
    "export.common_getitem_elimination_pass": WITHIN_EXPORT,
    "export.remove_unnecessary_copy_op_pass": WITHIN_EXPORT,
    "export.insert_aten_to_metadata_assert_pass": WITHIN_EXPORT,
    "export.add_runtime_assertions_for_inline_constraints": WITHIN_EXPORT,
    "export.functionalize_side_effectful_ops": "adds a token to the outputs, which no longer are the model's",
    "export.remove_effect_tokens": "asks for operators with effects, which only registered classes have",
    "export.constant_fold": "asks for torchao",
    "export.replace_quantized_ops_with_standard_ops": QUANTIZED,
}
