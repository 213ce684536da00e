"""An object encoder that looks at crops, on hosts whose tower takes them."""

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from tests.tiny_hosts import ROWS
from videorefer_plugin import ConfigurationError, TensorError
from videorefer_plugin.object_encoder import CropEncoderConfig

LLAMA3 = next(row for row in ROWS if row.name == "video_llama_3")
OTHERS = [row for row in ROWS if row.name != "video_llama_3"]


def circle(center, shape=LLAMA3.side, radius=5):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def attached(**settings):
    processor = LLAMA3.processor()
    model = vr.attach_object_encoder(LLAMA3.model(), processor=processor, encoder="crop", **settings)
    torch.manual_seed(1)
    for parameter in model.object_encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model, vr.RegionProcessor(processor, model, num_frames=4)


@pytest.fixture(scope="module")
def pair():
    return attached()


def ask(processor, regions, text="What is <region> doing?", **settings):
    return processor(text=LLAMA3.prompt(text), videos=[LLAMA3.video()], regions=regions, **settings)


def answer(model, inputs):
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    return made[:, inputs["input_ids"].shape[1] :].tolist()


def test_every_mask_becomes_a_group_of_tokens(pair):
    model, processor = pair
    inputs = ask(processor, [vr.Region({1: circle((10, 10)), 6: circle((12, 20))})])
    assert inputs["region_lengths"].tolist() == [[2]]
    tokens = model.get_region_tokens(**inputs)
    assert len(tokens[0][0]) == (inputs["input_ids"] == processor.region_token_id).sum()
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    assert text.count("[") == text.count("]") == 2
    assert len(answer(model, inputs)[0]) == 5


def test_crops_of_frames_that_are_not_shown_change_no_frames(pair):
    _, processor = pair
    with_region = ask(processor, [vr.Region({3: circle((10, 10))})])
    without = processor(text=LLAMA3.prompt("What happens?"), videos=[LLAMA3.video()])
    assert torch.equal(with_region["pixel_values_videos"], without["pixel_values_videos"])


def test_other_objects_give_other_tokens_and_the_frames_around_none(pair):
    model, processor = pair
    first, second = (model(**ask(processor, [vr.Region({1: circle(at)})])).logits[:, -1] for at in ((8, 8), (16, 24)))
    assert not torch.allclose(first, second, atol=1e-3)


def test_batches_answer_as_single_prompts(pair):
    model, processor = pair
    regions = [[vr.Region({1: circle((10, 10))})], [vr.Region({f: circle((12, 20)) for f in (0, 5)})]]
    singles = [ask(processor, own) for own in regions]
    batch = processor(
        text=[LLAMA3.prompt()] * 2, videos=[[LLAMA3.video()], [LLAMA3.video()]], regions=regions, num_frames=4
    )
    assert answer(model, batch) == [answer(model, one)[0] for one in singles]
    assert answer(model, processor.pad(singles)) == answer(model, batch)


def test_images_have_regions_as_well(pair):
    model, processor = pair
    inputs = processor(
        text="user: <image>\nWhat is <region>?\nassistant:",
        images=[LLAMA3.video()[0]],
        regions=[vr.Region({0: circle((10, 10))})],
    )
    assert len(answer(model, inputs)[0]) == 5


def test_it_is_saved_and_loaded_alone(pair, tmp_path):
    model, processor = pair
    model.save_object_encoder(tmp_path)
    again = vr.load_object_encoder(LLAMA3.model(), tmp_path, processor=LLAMA3.processor())
    assert again.object_encoder.config == model.object_encoder.config
    inputs = ask(processor, [vr.Region({1: circle((10, 10))})])
    assert answer(again, inputs) == answer(model, inputs)
    own = vr.RegionProcessor(LLAMA3.processor(), tmp_path, num_frames=4)
    assert torch.equal(ask(own, [vr.Region({1: circle((10, 10))})])["input_ids"], inputs["input_ids"])


def test_a_model_that_pools_refuses_crops_and_the_other_way_round(pair):
    model, processor = pair
    pooled, pooling = LLAMA3.attached()
    region = [vr.Region({1: circle((10, 10))})]
    with pytest.raises(TensorError, match="looks at crops"):
        model(**ask(pooling, region))
    with pytest.raises(TensorError):
        pooled(**ask(processor, region))


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row.name)
def test_hosts_whose_tower_takes_no_crops_say_which_do(row):
    with pytest.raises(ConfigurationError, match="video_llama_3"):
        vr.attach_object_encoder(row.model(), encoder="crop")


@pytest.mark.parametrize(
    ("config", "encoder"),
    [(None, "guess"), (CropEncoderConfig(), "pooled"), (CropEncoderConfig(8, 8), None), ({"kind": "crop"}, "crop")],
)
def test_configurations_that_do_not_fit_are_refused(config, encoder):
    with pytest.raises(ConfigurationError):
        vr.attach_object_encoder(LLAMA3.model(), config, encoder=encoder)


def test_a_processor_says_once_that_crops_cost_more_than_the_clip():
    _, processor = attached()
    many = [vr.Region({frame: circle((10, 10)) for frame in range(8)})]
    with pytest.warns(UserWarning, match=r"8 crop\(s\) of objects, but only 4 frame"):
        ask(processor, many)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(processor, many)
