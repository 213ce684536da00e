"""Tiny segmenters of transformers with random weights, saved as checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from videorefer_plugin.segment.edgetam_video import without_the_hub

__all__ = ["SEGMENTERS", "save_tiny_segmenter"]

_SIDE = 64  # pixels of the pictures that the models see
_WIDTH = 128  # the memory attention needs as much
_MEMORY = {
    # Frames and object pointers that the model looks back at: few, so that short videos have more.
    "num_maskmem": 3,
    "max_object_pointers_in_encoder": 4,
    "memory_attention_hidden_size": _WIDTH,
    "memory_attention_num_layers": 1,
    "memory_encoder_hidden_size": _WIDTH,
    "memory_encoder_output_channels": 64,  # is written into the memory attention's code
    "mask_downsampler_embed_dim": _WIDTH,
    "memory_fuser_embed_dim": _WIDTH,
    "memory_fuser_intermediate_dim": 64,
    "memory_fuser_num_layers": 1,
}
_DECODER = {
    "num_hidden_layers": 1,
    "hidden_size": _WIDTH,
    "mlp_dim": 64,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 32,
}


def save_tiny_segmenter(name: str, folder: Path, seed: int = 0) -> Path:
    """Save the model and its processor into a folder, as `load_segmenter(name, folder)` takes it."""
    make, make_processor, side = SEGMENTERS[name]
    torch.manual_seed(seed)
    with without_the_hub():
        model = make().eval()
    with torch.no_grad():
        # Weights of such a model are so small that everything looks alike to it; and what begins as zero, such as the
        # embeddings of absent objects, should be seen to be used.
        for each in model.parameters():
            each.add_(0.05 * torch.randn_like(each))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(0.5)
    with without_the_hub():
        model.save_pretrained(folder)
    make_processor(side).save_pretrained(folder)
    return folder


def _sam2_video() -> Any:
    from transformers import Sam2VideoConfig, Sam2VideoMaskDecoderConfig, Sam2VideoModel

    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 16,
            "image_size": [_SIDE, _SIDE],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [4, 2, 2, 2],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[_SIDE // 4] * 2, [_SIDE // 8] * 2, [_SIDE // 16] * 2],
        "fpn_hidden_size": _WIDTH,
    }
    return Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": _WIDTH, "image_size": _SIDE, "patch_size": 16},
            mask_decoder_config=Sam2VideoMaskDecoderConfig(**_DECODER),  # 5.18 makes something else of a dict
            image_size=_SIDE,
            memory_attention_feed_forward_hidden_size=64,
            memory_attention_rope_feat_sizes=[_SIDE // 16] * 2,
            **_MEMORY,
        )
    )


def _edgetam_video() -> Any:
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, EdgeTamVisionConfig, TimmWrapperConfig

    backbone = TimmWrapperConfig(
        architecture="test_convnext",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 48, 32, 24],
        backbone_feature_sizes=[[_SIDE // 4] * 2, [_SIDE // 8] * 2, [_SIDE // 16] * 2],
        fpn_hidden_size=_WIDTH,
    )
    return EdgeTamVideoModel(
        EdgeTamVideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": _WIDTH, "image_size": _SIDE, "patch_size": 16},
            mask_decoder_config=_DECODER,
            image_size=_SIDE,
            memory_attention_mlp_hidden_size=64,
            memory_attention_rope_feat_sizes=[_SIDE // 16] * 2,
            memory_attention_rope_k_sizes=[2, 2],
            perceiver_resampler_num_latents=4,
            perceiver_resampler_num_latents_2d=4,
            perceiver_resampler_mlp_intermediate_size=64,
            perceiver_resampler_num_layers=1,
            **_MEMORY,
        )
    )


def _sam3_tracker_video() -> Any:
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    side = _SIDE3
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "pretrain_image_size": side,
            "patch_size": 14,
            "window_size": 2,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": _WIDTH,
        "backbone_feature_sizes": [[4 * side // 14] * 2, [2 * side // 14] * 2, [side // 14] * 2],
    }
    return Sam3TrackerVideoModel(
        Sam3TrackerVideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": _WIDTH, "image_size": side, "patch_size": 14},
            mask_decoder_config=_DECODER,
            image_size=side,
            memory_attention_feed_forward_hidden_size=64,
            **_MEMORY,
        )
    )


_SIDE3 = 56


def _sam2_processor(side: int) -> Any:
    from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

    size = {"height": side, "width": side}
    masks = {"height": side // 4, "width": side // 4}
    return Sam2VideoProcessor(Sam2ImageProcessor(size=size, mask_size=masks), Sam2VideoVideoProcessor(size=size))


def _sam3_processor(side: int) -> Any:
    from transformers import Sam2VideoVideoProcessor, Sam3ImageProcessor, Sam3TrackerVideoProcessor

    size = {"height": side, "width": side}
    masks = {"height": side // 14 * 4, "width": side // 14 * 4}
    return Sam3TrackerVideoProcessor(
        Sam3ImageProcessor(size=size, mask_size=masks),
        Sam2VideoVideoProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3),
    )


SEGMENTERS: dict[str, tuple[Callable[[], Any], Callable[[int], Any], int]] = {
    "sam2_video": (_sam2_video, _sam2_processor, _SIDE),
    "sam3_tracker_video": (_sam3_tracker_video, _sam3_processor, _SIDE3),
    "edgetam_video": (_edgetam_video, _sam2_processor, _SIDE),
}
