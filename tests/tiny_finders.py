"""Tiny random models that look for words and cut objects out, saved as checkpoints.

Random weights find random things: a test asserts what must hold of whatever is found.
"""

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    PreTrainedTokenizerFast,
    Sam2VideoVideoProcessor,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3TrackerVideoConfig,
    Sam3VideoConfig,
    Sam3VideoModel,
    Sam3VideoProcessor,
    SamHQConfig,
    SamHQModel,
    SamHQProcessor,
    SamImageProcessor,
    SwinConfig,
)

__all__ = ["DETECTORS", "save_detector", "save_sam3", "save_sam_hq"]

DETECTORS = ("grounding-dino", "mm-grounding-dino", "owlv2")


def _words(start: str, end: str, pad: str, most: int, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of single letters, with a token before and one behind the text."""
    letters = [*string.ascii_lowercase, *string.digits, "é"]
    vocabulary = {token: number for number, token in enumerate([pad, "[UNK]", start, end, *extra, *letters])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(start, vocabulary[start]), (end, vocabulary[end])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=start,
        sep_token=end,
        eos_token=end,
        pad_token=pad,
        unk_token="[UNK]",
        model_max_length=most,
    )


def _grounding_dino(kind: str) -> Any:
    config, model = {
        "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
        "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
    }[kind]
    settings = config(
        backbone_config=SwinConfig(
            image_size=64,
            window_size=7,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_feature_levels=3,
        max_text_len=32,
        two_stage=True,
    )
    return model(settings)


def save_detector(kind: str, folder: Path) -> str:
    torch.manual_seed(3)
    if kind == "owlv2":
        _save_owlv2(folder)
    else:
        _grounding_dino(kind).save_pretrained(folder)
        images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 64})
        GroundingDinoProcessor(images, _words("[CLS]", "[SEP]", "[PAD]", 512, (".",))).save_pretrained(folder)
    return str(folder)


def _save_owlv2(folder: Path) -> None:
    text = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    text |= {"intermediate_size": 16, "max_position_embeddings": 16, "eos_token_id": 3, "bos_token_id": 2}
    config = Owlv2Config(text_config=text, vision_config={**vision, "intermediate_size": 16}, projection_dim=16)
    model = Owlv2ForObjectDetection(config)
    for parameter in model.box_head.parameters():
        torch.nn.init.zeros_(parameter)  # so that boxes stay in the cells that they begin with
    model.save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    Owlv2Processor(images, _words("<s>", "</s>", "!", 16)).save_pretrained(folder)


def save_sam_hq(folder: Path) -> str:
    torch.manual_seed(5)
    config = SamHQConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "output_channels": 16,
            "mlp_dim": 32,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
            "vit_dim": 32,
        },
    )
    SamHQModel(config).save_pretrained(folder)
    images = SamImageProcessor(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    SamHQProcessor(images).save_pretrained(folder)
    return str(folder)


def save_sam3(folder: Path, **settings: Any) -> str:
    """A Sam3VideoModel with its processor; settings are those of its configuration."""
    torch.manual_seed(9)
    side, hidden = 56, 128
    backbone = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "pretrain_image_size": side,
        "patch_size": 14,
        "window_size": 2,
        "global_attn_indexes": [1],
    }
    vision = {
        "backbone_config": {"model_type": "sam3_vit_model", **backbone},
        "fpn_hidden_size": hidden,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }
    layer = {"hidden_size": hidden, "num_attention_heads": 2, "intermediate_size": 32, "dropout": 0.0}
    text = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "projection_dim": 16, "max_position_embeddings": 32, "eos_token_id": 3}
    detector = Sam3Config(
        vision_config=vision,
        text_config={"model_type": "clip_text_model", **text},
        geometry_encoder_config={**layer, "num_layers": 1},
        detr_encoder_config={**layer, "num_layers": 1},
        detr_decoder_config={**layer, "num_layers": 1, "num_queries": 6},
        mask_decoder_config={"hidden_size": hidden, "num_attention_heads": 2},
    )
    tracker = Sam3TrackerVideoConfig(
        vision_config={"model_type": "sam3_vision_model", **vision},
        image_size=side,
        prompt_encoder_config={"hidden_size": hidden, "image_size": side, "patch_size": 14},
        mask_decoder_config={
            "hidden_size": hidden,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        memory_attention_hidden_size=hidden,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=hidden,
        mask_downsampler_embed_dim=hidden,
        memory_fuser_embed_dim=hidden,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )
    config = Sam3VideoConfig(detector_config=detector, tracker_config=tracker, low_res_mask_size=16, **settings)
    model = Sam3VideoModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # so that not everything looks alike to it
            noise = 1.5 if "query" in name else 0.3 if name.startswith("detector_model.mask_decoder") else 0.07
            weight.add_(noise * torch.randn_like(weight))
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(0.5)
    model.save_pretrained(folder)
    images = Sam3ImageProcessor(size={"height": side, "width": side}, mask_size={"height": 16, "width": 16})
    frames = Sam2VideoVideoProcessor(size={"height": side, "width": side})
    Sam3VideoProcessor(images, frames, _words("<s>", "</s>", "!", 32)).save_pretrained(folder)
    return str(folder)
