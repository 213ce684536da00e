"""A tiny LLaVA-OneVision with random weights, and questions of the shapes world about colours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin.world import Clip, encode_video, make_clip, open_questions
from videorefer_plugin.world.categories import CATEGORIES

SIDE, PATCH = 64, 8
ASKED = ("color",)  # what so short a training is enough for; shapes take longer
SPECIALS = ("<pad>", "<|im_end|>", "<image>", "<video>")
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}{% else %}{{ '<' + item['type'] + '>' }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def answers(clip: Clip) -> dict[tuple[str, int], str]:
    """What is true of the objects of a clip: what is asked and the index of the object -> answer."""
    return {(name, who[0]): answer for name, who, answer in open_questions(clip.facts) if name in ASKED}


def write_records(folder: Path, clips: int) -> Path:
    """Training clips and for each a conversation about all of its objects, which differ in colour."""
    (folder / "videos").mkdir(parents=True)
    records = []
    for number in range(clips):
        clip = make_clip((7, number), "train", SIDE, 16, objects=4, distinct=True)
        encode_video(folder / f"videos/{number}.mp4", clip.frames)
        turns, regions = [], []
        for place, (name, index) in enumerate(np.random.default_rng(number).permutation([*answers(clip)]).tolist()):
            question = ("" if place else "<video>\n") + CATEGORIES[name].phrasings[0]
            turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answers(clip)[name, int(index)]}]
            regions.append(clip.annotation(int(index), clip.clear_frames(int(index))))
        records.append({"video": f"videos/{number}.mp4", "conversations": turns, "annotation": regions})
    (folder / "records.json").write_text(json.dumps(records))
    return folder / "records.json"


def write_host(folder: Path, records: Path) -> Path:
    """Model and processor, with a tokenizer made of the words of some records."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=list(SPECIALS), initial_alphabet=alphabet)
    said = (turn["value"] for record in json.loads(records.read_text()) for turn in record["conversations"])
    core.train_from_iterator([*said, "user: assistant: "], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
    )
    size = {"height": SIDE, "width": SIDE}
    transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[SIDE, SIDE]]),
        tokenizer=tokenizer,
        video_processor=transformers.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    ).save_pretrained(folder)
    # Weights of the usual size are too small for models as narrow: attention would be all but uniform.
    layers = {"num_hidden_layers": 3, "num_attention_heads": 4, "initializer_range": 0.08}
    config = transformers.LlavaOnevisionConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_key_value_heads": 4,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **layers,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 96,
            "intermediate_size": 192,
            "image_size": SIDE,
            "patch_size": PATCH,
            "vision_use_head": False,
            **layers,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[SIDE, SIDE]],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    transformers.LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    return folder


def heldout_questions(clips: int) -> Iterator[tuple[Clip, str, int]]:
    """Clips, what is asked, and of which object. Objects are combined of shape, colour and motion as no training
    clip has them, and the four of a clip differ in colour.
    """
    for number in range(clips):
        clip = make_clip((99, number), "heldout", SIDE, 16, objects=4, distinct=True)
        for name, index in answers(clip):
            yield clip, name, index


def ask_all(model: Any, processor: Any, questions: list[tuple[Clip, str, int]], masked: list[int]) -> list[str]:
    """Ask every question, with the mask of the object `masked` in place of its own."""
    import torch

    said: list[str] = []
    for first in range(0, len(questions), 32):
        chats, regions = [], []
        for (clip, name, _), index in zip(questions[first : first + 32], masked[first : first + 32], strict=True):
            text = {"type": "text", "text": CATEGORIES[name].phrasings[0]}
            chats.append([{"role": "user", "content": [{"type": "video", "video": clip.frames}, text]}])
            frames = clip.clear_frames(index)
            regions.append([clip.region(index, [frames[len(frames) // 2]])])
        inputs = processor.apply_chat_template(chats, regions=regions, add_generation_prompt=True)
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        said += processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return said
