"""One tiny random model of every host family, with the family's real processor on a tokenizer of bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<eos>", "<image>", "<video>", "<vs>", "<ve>", "<fake>", "<global>", "<img>", "</img>", "<ctx>")
VOCAB = 256 + len(SPECIALS)
IDS = {token: 256 + place for place, token in enumerate(SPECIALS)}
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for item in message['content'] %}"
    "{% if item['type'] == 'video' %}VIDEO{% elif item['type'] == 'image' %}IMAGE"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SEED = 0


@dataclass
class HostRow:
    """A row of the matrix.

    `side` is the size of frames that the processor leaves as they are, `grid` the feature grid of these.
    """

    name: str
    build: Callable[[], Any]
    make_processor: Callable[[], Any]
    side: tuple[int, int]
    grid: tuple[int, int]
    frames_per_row: int = 1
    video_token: str = "<video>"
    image_token: str = "<image>"
    takes_images: bool = True
    pads_frames: bool = False

    def model(self) -> Any:
        torch.manual_seed(SEED)
        return self.build().eval()

    def processor(self) -> Any:
        return self.make_processor()

    def attached(self) -> tuple[Any, Any]:
        """A model with an object encoder of large weights, so that its tokens matter, and its processor."""
        from videorefer_plugin import RegionProcessor, attach_object_encoder

        processor = self.processor()
        model = attach_object_encoder(self.model(), processor=processor)
        torch.manual_seed(SEED + 1)
        for parameter in model.object_encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return model, RegionProcessor(processor, model, num_frames=4)

    def prompt(self, text: str = "What is <region> doing?") -> str:
        return f"user: {self.video_token}\n{text}\nassistant:"

    def video(self, seed: int = 0, frames: int = 8) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (frames, *self.side, 3), dtype=np.uint8)


def tokenizer(**extra: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIALS))
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<eos>", pad_token="<pad>", padding_side="left", extra_special_tokens=extra
    )


def chat(video: str, image: str) -> str:
    return CHAT.replace("VIDEO", video).replace("IMAGE", image)


def text_config(model_type: str = "qwen2", **extra: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": None,
        "eos_token_id": IDS["<eos>"],
        "pad_token_id": IDS["<pad>"],
        # Random weights of the usual size make logits nearly equal, and any test of tokens blind.
        "initializer_range": 0.3,
        **extra,
    }


def vit(model_type: str, **extra: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
        "initializer_range": 0.3,
        **extra,
    }


# ---------------------------------------------------------------------------------------------------------- families


def _llava_onevision() -> Any:
    config = transformers.LlavaOnevisionConfig(
        text_config=text_config(),
        vision_config=vit("siglip_vision_model"),
        image_token_id=IDS["<image>"],
        video_token_id=IDS["<video>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]],
        tie_word_embeddings=False,
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config)


def _llava_onevision_processor() -> Any:
    return transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(
            size={"height": 16, "width": 16}, image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]]
        ),
        tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
        video_processor=transformers.LlavaOnevisionVideoProcessor(size={"height": 16, "width": 16}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat("<video>", "<image>"),
    )


_QWEN_IDS = {
    "image_token_id": IDS["<image>"],
    "video_token_id": IDS["<video>"],
    "vision_start_token_id": IDS["<vs>"],
    "vision_end_token_id": IDS["<ve>"],
    "tie_word_embeddings": False,
}
_PACKED_SIZE = {"shortest_edge": 64, "longest_edge": 64 * 64 * 64}
_PACKED = {"patch_size": 4, "merge_size": 2, "size": _PACKED_SIZE}


def _qwen2_5_vl() -> Any:
    config = transformers.Qwen2_5_VLConfig(
        text_config=text_config(
            "qwen2_5_vl_text",
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "out_hidden_size": text_config()["hidden_size"],
            "initializer_range": 0.3,
        },
        **_QWEN_IDS,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen_tokens() -> PreTrainedTokenizerFast:
    return tokenizer(image_token="<image>", video_token="<video>", vision_start_token="<vs>", vision_end_token="<ve>")


def _qwen2_5_vl_processor() -> Any:
    return transformers.Qwen2_5_VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(temporal_patch_size=2, **_PACKED),
        tokenizer=_qwen_tokens(),
        video_processor=transformers.Qwen2VLVideoProcessor(
            temporal_patch_size=2, do_sample_frames=False, cap_pixels_per_frame=False, **_PACKED
        ),
        chat_template=chat("<vs><video><ve>", "<vs><image><ve>"),
    )


def _qwen2_vl() -> Any:
    config = transformers.Qwen2VLConfig(
        text_config=text_config(
            "qwen2_vl_text",
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        ),
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "initializer_range": 0.3,
        },
        **_QWEN_IDS,
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def _qwen2_vl_processor() -> Any:
    base = _qwen2_5_vl_processor()
    return transformers.Qwen2VLProcessor(
        base.image_processor, base.tokenizer, base.video_processor, chat_template=base.chat_template
    )


def _qwen3_vl() -> Any:
    config = transformers.Qwen3VLConfig(
        text_config=text_config(
            "qwen3_vl_text",
            head_dim=8,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": text_config()["hidden_size"],
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.3,
        },
        **_QWEN_IDS,
    )
    return transformers.Qwen3VLForConditionalGeneration(config)


def _qwen3_vl_processor() -> Any:
    return transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(temporal_patch_size=2, **_PACKED),
        tokenizer=_qwen_tokens(),
        video_processor=transformers.Qwen3VLVideoProcessor(
            temporal_patch_size=2, cap_pixels_per_frame=False, **_PACKED
        ),
        chat_template=chat("<video>", "<vs><image><ve>"),
    )


def _video_llama_3() -> Any:
    config = transformers.VideoLlama3Config(
        text_config=text_config(),
        vision_config=vit("video_llama_3_vision", image_size=None),
        image_token_id=IDS["<image>"],
        video_token_id=IDS["<video>"],
        tie_word_embeddings=False,
    )
    return transformers.VideoLlama3ForConditionalGeneration(config)


def _video_llama_3_processor() -> Any:
    return transformers.VideoLlama3Processor(
        # As released, images are not merged, videos are.
        image_processor=transformers.VideoLlama3ImageProcessor(**{**_PACKED, "merge_size": 1}),
        tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
        # Random frames differ too much for anything to be compressed.
        video_processor=transformers.VideoLlama3VideoProcessor(**_PACKED),
        chat_template=chat("<video>", "<image>"),
    )


def _smolvlm() -> Any:
    config = transformers.SmolVLMConfig(
        text_config=text_config("llama"),
        vision_config=vit("smolvlm_vision"),
        image_token_id=IDS["<image>"],
        scale_factor=2,
        pad_token_id=IDS["<pad>"],
        tie_word_embeddings=False,
    )
    return transformers.SmolVLMForConditionalGeneration(config)


def _smolvlm_processor() -> Any:
    edge = {"longest_edge": 16}
    return transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(size=edge, max_image_size=edge),
        tokenizer=tokenizer(
            image_token="<image>",
            video_token="<video>",
            fake_image_token="<fake>",
            global_image_token="<global>",
            end_of_utterance_token="<eos>",
        ),
        video_processor=transformers.SmolVLMVideoProcessor(
            size=dict(edge), max_image_size=edge, video_sampling={"max_frames": 4, "fps": 1, "video_size": dict(edge)}
        ),
        image_seq_len=4,
        chat_template=chat("<video>", "<image>"),
    )


def _internvl() -> Any:
    config = transformers.InternVLConfig(
        text_config=text_config(),
        vision_config=vit(
            "internvl_vision", image_size=[16, 16], patch_size=[4, 4], use_absolute_position_embeddings=True
        ),
        image_token_id=IDS["<ctx>"],
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    return transformers.InternVLForConditionalGeneration(config)


def _internvl_processor() -> Any:
    return transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(size={"height": 16, "width": 16}),
        tokenizer=tokenizer(
            start_image_token="<img>", end_image_token="</img>", context_image_token="<ctx>", video_token="<video>"
        ),
        video_processor=transformers.InternVLVideoProcessor(size={"height": 16, "width": 16}),
        image_seq_length=4,
        chat_template=chat("<video>", "<ctx>"),
    )


def _perception_lm() -> Any:
    vision = transformers.TimmWrapperConfig(
        architecture="vit_pe_core_large_patch14_336",
        model_args={
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "patch_size": 4,
            "img_size": 16,
            "ref_feat_shape": (4, 4),
            "global_pool": "",
            "use_post_transformer_norm": False,
            "init_values": 0.1,
        },
    )
    config = transformers.PerceptionLMConfig(
        text_config=text_config("llama"),
        vision_config=vision,
        vision_use_cls_token=True,
        projector_pooling_ratio=2,
        image_token_id=IDS["<image>"],
        video_token_id=IDS["<video>"],
        tie_word_embeddings=False,
    )
    return transformers.PerceptionLMForConditionalGeneration(config)


def _perception_lm_processor() -> Any:
    return transformers.PerceptionLMProcessor(
        image_processor=transformers.PerceptionLMImageProcessor(tile_size=16, max_num_tiles=2),
        tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
        video_processor=transformers.PerceptionLMVideoProcessor(size={"height": 16, "width": 16}),
        patch_size=4,
        pooling_ratio=2,
        chat_template=chat("<video>", "<image>"),
    )


def _videollama2() -> Any:
    from videorefer_plugin import VideoLLaMA2Config, VideoLLaMA2ForConditionalGeneration

    config = VideoLLaMA2Config(
        # As in the released models, ids of placeholders lie beyond the vocabulary.
        text_config=text_config(vocab_size=IDS["<image>"]),
        vision_config=vit("siglip_vision_model"),
        num_frames=4,
        image_token_id=IDS["<image>"],
        video_token_id=IDS["<video>"],
    )
    return VideoLLaMA2ForConditionalGeneration(config)


def _videollama2_processor() -> Any:
    from videorefer_plugin import VideoLLaMA2Processor

    image_processor = transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16})
    return VideoLLaMA2Processor(image_processor, tokenizer(), num_frames=4, patch_size=4)


ROWS = [
    HostRow("llava_onevision", _llava_onevision, _llava_onevision_processor, (16, 16), (4, 4)),
    HostRow("video_llama_3", _video_llama_3, _video_llama_3_processor, (24, 32), (3, 4)),
    HostRow(
        "qwen2_5_vl", _qwen2_5_vl, _qwen2_5_vl_processor, (24, 32), (6, 8), 2, "<vs><video><ve>", "<vs><image><ve>"
    ),
    HostRow("qwen3_vl", _qwen3_vl, _qwen3_vl_processor, (24, 32), (6, 8), 2, "<video>", "<vs><image><ve>"),
    HostRow("smolvlm", _smolvlm, _smolvlm_processor, (16, 16), (4, 4), takes_images=False),
    HostRow("internvl", _internvl, _internvl_processor, (16, 16), (4, 4), image_token="<ctx>", takes_images=False),
    HostRow("perception_lm", _perception_lm, _perception_lm_processor, (16, 16), (4, 4), takes_images=False),
    HostRow("videollama2", _videollama2, _videollama2_processor, (16, 16), (4, 4)),
]
BY_NAME = {row.name: row for row in ROWS}
QWEN2_VL = HostRow("qwen2_vl", _qwen2_vl, _qwen2_vl_processor, (24, 32), (6, 8), 2, "<vs><video><ve>")

_ATTENTION_OUTPUT = re.compile(r"(vis|tower).*(out_proj|attn\.proj|projection_layer)\.(weight|bias)$")


def stop_mixing(model: Any) -> None:
    """Cut attention out of the vision tower, so that a feature depends on its own place of the frame alone."""
    found = [name for name, _ in model.base_model.named_parameters() if _ATTENTION_OUTPUT.search(name)]
    assert len(found) >= 2, "the tower's attention goes by another name"
    with torch.no_grad():
        for name, parameter in model.base_model.named_parameters():
            if name in found:
                parameter.zero_()


def write_chat_model(folder: Path, turn: str, ends: int | None = None, **settings: Any) -> str:
    """Write a tiny random language model with a chat template, which has `turn` for each message."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **sizes, **settings))
    if ends is not None:
        model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    tokens = tokenizer()
    tokens.chat_template = f"{{% for m in messages %}}{turn}\n{{% endfor %}}assistant:"
    tokens.save_pretrained(folder)
    return str(folder)
